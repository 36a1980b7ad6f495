"""`mossa plan` from the command line: what it counts is what a run did, and it writes nothing unless it calibrates."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import yaml

from mossa.cost.estimate import estimate
from mossa.run.run import prepare
from mossa.study import load_study
from tests.run.command import mossa, tables


def rows(output: str) -> dict[str, list[str]]:
    """Return the columns of the table of steps: units, to do, tokens, with filling, that per token, Tflop, time."""
    found = [line.split() for line in output.splitlines()]
    return {words[0]: words[1:] for words in found if len(words) > 2 and words[1].isdigit() and words[2].isdigit()}


def peak_memory(run: Path) -> int:
    return max(json.loads(path.read_text())["peak_memory"] for path in run.glob("units/*/*/manifest.json"))


def test_it_counts_what_the_run_did(folder: Path) -> None:
    ran = mossa(folder, "plan", "small.yaml")
    assert ran.code == 0, ran.output
    found = rows(ran.output)
    units = {
        path.name: len(list(path.iterdir())) for path in (folder / "runs/small/units").iterdir() if path.name[0] != "."
    }
    assert {step: int(columns[0]) for step, columns in found.items()} == units
    assert all(columns[1] == "0" for columns in found.values())  # nothing is left to do
    assert f"rate: {sum(units.values())} finished units of this study" in ran.output
    prompt_tokens = tables(folder)["tasks"].set_index("task")["prompt_tokens"]
    judged = tables(folder)["evaluation"]
    tokens = (judged["task"].map(prompt_tokens) * judged["n"] + judged["target_tokens"]).sum()
    represented = [path.name.split("@") for path in (folder / "runs/small/units/represent").iterdir()]
    others = {tuple(names) for names in represented} - set(zip(judged["model"], judged["task"], strict=True))
    assert others  # controls of other tasks, whose answers nobody asks for
    tokens += sum(prompt_tokens[task] * judged["n"].iloc[0] for _, task in others)
    assert int(found["represent"][2].replace(",", "")) == round(tokens)  # one pass, which also gives the losses
    replies = int(found["evaluate"][2].replace(",", ""))
    assert 0 < replies < tokens / 3
    for columns in (found["train"], found["represent"], found["evaluate"]):
        true, filled, ratio = (float(column.replace(",", "")) for column in columns[2:5])
        assert ratio == round(filled / true, 2) >= 1


def test_memory_is_within_thirty_percent_of_what_was_used(folder: Path) -> None:
    planned = estimate(prepare(load_study(folder / "small.yaml"), folder / "runs")).need
    assert 0.7 < planned.main / peak_memory(folder / "runs/small") < 1.3


def test_on_a_named_gpu_nothing_runs_and_with_calibration_one_training_does(settings: dict, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    named = mossa(tmp_path, "plan", "small.yaml", "--gpu", "h100", "--gpus", "8", "--utilisation", "0.5")
    assert named.code == 0 and not (tmp_path / "runs").exists(), named.output
    assert "50% of the 67 Tflop/s (float32) that are published for h100" in named.output
    assert re.search(r"GPU memory: [\d.]+ GB at most \(\w+\), of 80 GB\.", named.output)
    assert all(columns[0] == columns[1] for columns in rows(named.output).values())
    calibrated = mossa(tmp_path, "plan", "small.yaml", "--calibrate")
    assert calibrated.code == 0 and "rate: 3 finished units of this study" in calibrated.output, calibrated.output
    done = sorted(path.parent.relative_to(tmp_path / "runs/small/units") for path in tmp_path.rglob("manifest.json"))
    control = done[2].name
    assert [path.parts[0] for path in done] == ["evaluate", "represent", "train"] and control.startswith("control-")
    assert all(path.name.startswith(control) for path in done)
    manifest = json.loads((tmp_path / "runs/small/units" / done[1] / "manifest.json").read_text())
    assert 0 < manifest["preparation"]["processor_seconds"] < manifest["processor_seconds"]
    left = rows(calibrated.output)
    assert [int(left[step][0]) - int(left[step][1]) for step in ("train", "represent", "evaluate")] == [1, 1, 1]
    counted = pd.read_parquet(tmp_path / "runs/small/units/train" / control / "adapters.parquet")
    assert counted["steps"].item() == 12
