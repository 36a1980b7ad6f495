"""`python -m experiments.planted` from the command line, on the shipped bases."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.run.command import mossa

QUICK = [
    "tasks.only=[rules, facts]",
    "tasks.train=60",
    "tasks.validation=20",
    "tasks.test=24",
    "control.seeds=[0]",
    "recipe.budget={steps: 12}",
    "experimental.sft.budget={steps: 2}",
]


def test_the_trial_runs_publishes_and_goes_on(tmp_path: Path) -> None:
    words = ["--bases", "a,b", *(word for setting in QUICK for word in ("-s", setting))]
    first = mossa(tmp_path, *words, module="experiments.planted")
    assert first.code == 0, first.output
    text = (tmp_path / "runs" / "trial" / "trial.md").read_text()
    assert (
        "Is the base closer to a task's control where the task was planted? Cannot be said" in text
    )  # nothing is learned
    judged = pd.read_csv(tmp_path / "runs" / "trial" / "controls.csv").set_index(["base", "task"])
    assert judged.loc[("a", "rules"), "planted"] and not judged.loc[("b", "rules"), "planted"]
    assert judged.loc[("a", "rules"), "accuracy"] > judged.loc[("b", "rules"), "accuracy"]
    for picture in ("trial-separation", "trial-tasks", "trial-layers"):
        assert (tmp_path / "runs" / "trial" / "figures" / f"{picture}.png").stat().st_size > 5_000
    again = mossa(tmp_path, *words, module="experiments.planted")
    assert again.output.count("Nothing to do") == 2


def test_an_unknown_base_or_half_a_trial_is_answered(tmp_path: Path) -> None:
    unknown = mossa(tmp_path, "--bases", "a,c", module="experiments.planted")
    assert unknown.code == 2 and "'c'" in unknown.output and "random" in unknown.output
    half = mossa(tmp_path, "--bases", "a", "-s", "tasks.only=[rules]", module="experiments.planted")
    assert half.code == 2 and "'b'" in half.output
    assert not (tmp_path / "runs").exists()  # said before anything was trained
