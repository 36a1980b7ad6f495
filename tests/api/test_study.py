"""A study from Python: the same verbs, the same numbers and the same words as the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

import mossa
from mossa.cli import app
from mossa.errors import StudyError
from mossa.similarity import ESTIMATORS, Estimator
from mossa.study import load_study
from tests.run.command import environment


@pytest.fixture
def study(folder: Path) -> mossa.Study:
    """Return the small study in a copy of the folder in which it was run."""
    return mossa.Study.load(folder / "small.yaml", runs=folder / "runs")


def command(folder: Path, *words: str) -> str:
    """Return what the command line says in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(app, words).stdout


def words(text: str) -> list[str]:
    """Return the words of a text without what is measured anew each time: numbers, units, which chain is longest."""
    same = re.sub(r"(?m)^(Beyond about|A smaller budget).*$", "", text)
    return [word for word in re.findall(r"[A-Za-z]{2,}", same) if word not in {"seconds", "minutes", "hours", "days"}]


def test_a_study_is_the_same_from_a_file_and_from_a_mapping(settings: dict, folder: Path, study: mossa.Study) -> None:
    given = yaml.safe_load(yaml.safe_dump(settings))
    made = mossa.Study.load(given, "recipe.batch_size=4", runs=folder / "runs")
    assert given == settings  # an override changes the study, not what was given
    assert made.settings.recipe.batch_size == 4
    assert mossa.Study.load(settings).settings == study.settings == load_study(folder / "small.yaml")
    assert made.folder == study.folder == folder / "runs/small"
    assert "small" in repr(study) and "sft" in repr(study)


def test_problems_of_a_mapping_are_listed_at_once(settings: dict) -> None:
    wrong = {**settings, "bas": 1, "control": {"seeds": []}}
    with pytest.raises(StudyError, match=r"the study: 2 problem") as raised:
        mossa.Study.load(wrong)
    assert "there is no such key. Did you mean 'base'?" in str(raised.value) and "control.seeds" in str(raised.value)
    checked = mossa.validate(wrong)
    assert not checked and len(checked.problems) == 2


def test_validate_says_what_the_command_says(folder: Path, study: mossa.Study) -> None:
    found = study.validate()
    assert found and repr(found) in command(folder, "validate", "small.yaml")
    wrong = mossa.validate(folder / "small.yaml", "similarity.estimators=[cka]", "experimental.sft={mixture: [frist]}")
    assert not wrong and len(wrong.problems) == 2
    printed = command(folder, "validate", "small.yaml", "-s", "similarity.estimators=[cka]")
    assert str(wrong.problems[0]) in printed


def test_status_says_what_the_command_says(folder: Path, study: mossa.Study) -> None:
    assert study.status().todo == 0 and "Everything is done." in repr(study.status())
    changed = mossa.Study.load(folder / "small.yaml", "control.budget={steps: 3}", runs=folder / "runs").status()
    printed = command(folder, "status", "small.yaml", "-s", "control.budget={steps: 3}")
    *table, report, following = printed.splitlines()
    assert repr(changed).splitlines()[1:] == table[1:]  # the first line is the folder, as it was given
    assert report == "Report: runs/small/report/index.html" and following.startswith("Next: mossa run small.yaml")
    stale = changed.units[changed.units["state"] == "stale"]
    assert set(stale["step"]) >= {"train", "represent", "compare"} and stale["why"].notna().all()


def test_plan_has_numbers_and_says_what_the_command_says(folder: Path, study: mossa.Study) -> None:
    cost = study.plan(gpu="h100", gpus=8)
    printed = command(folder, "plan", "small.yaml", "--gpu", "h100", "--gpus", "8")
    assert words(repr(cost)) == words(printed) and "Tflop" in printed
    units = cost.units
    assert len(units) == len(study.status().units) and not units["todo"].any() and cost.seconds == 0
    trainings = units[units["step"] == "train"]
    assert (trainings["operations"] > 0).all() and (trainings["tokens"] > 0).all()
    with pytest.raises(StudyError, match="calibrate"):
        study.plan(gpu="h100", calibrate=True)
    with pytest.raises(StudyError, match="gpus is 0"):
        study.plan(gpus=0)


def test_tasks_of_a_study_and_of_collections(study: mossa.Study, folder: Path) -> None:
    tasks = study.tasks().set_index("task")
    assert tasks.loc["first", ["train", "validation", "test", "left_out"]].tolist() == [48, 8, 24, 0]
    assert tasks["cluster"].tolist() == ["copying", "naming", "copying", "naming"]  # again, colour, first, second
    for given, found in (
        ((), mossa.list_tasks()),
        (("flan2021",), mossa.list_tasks("flan2021")),
        (("small.yaml",), mossa.list_tasks(folder / "small.yaml")),
    ):
        assert repr(found) == found == command(folder, "tasks", "ls", *given).rstrip("\n")
    shown = mossa.show_task("first", of=folder / "small.yaml")
    assert shown == command(folder, "tasks", "show", "first", "--of", "small.yaml").rstrip("\n")


def test_init_gives_a_study_that_can_be_validated(base_folder, task_folder: Path, tmp_path: Path) -> None:
    made = mossa.Study.init(tmp_path / "mine.yaml", base=str(base_folder("llama")), tasks=str(task_folder))
    assert made.settings.name == "mine" and made.validate()
    with pytest.raises(StudyError, match="exists already"):
        mossa.Study.init(tmp_path / "mine.yaml", base="x", tasks="y")


def test_run_does_what_is_missing_and_gives_the_results(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study cut down to two tasks of few steps, run twice: quietly, then to hear that there is nothing to do."""
    less = ["tasks.only=[first, colour]", "control.seeds=[0]", "experimental={sft: {mixture: all}}"]
    less += ["recipe.budget={steps: 2}", "similarity.affinity=false"]
    study = mossa.Study.load(settings, *less, runs=tmp_path)
    empty = study.results()
    assert empty.tables == {} and "none yet" in repr(empty)
    with pytest.raises(mossa.MossaError, match="has no results yet"):
        study.report()
    results = study.run(workers=1, device="cpu", report=False, progress=False)
    assert capsys.readouterr().out == ""
    assert not results.failed and study.status().todo == 0
    assert not (tmp_path / "small/report").exists()
    written = pd.read_parquet(tmp_path / "small/results/similarity.parquet")
    pd.testing.assert_frame_equal(results.similarity, written, check_exact=True)
    assert set(results.similarity["task"]) == {"first", "colour"} and results.models == ["sft"]
    again = study.run(workers=1, device="cpu")
    assert "Nothing to do" in capsys.readouterr().out
    page = tmp_path / "small/report/index.html"
    written = page.read_bytes()
    page.unlink()
    assert study.report() == page and page.read_bytes() == written
    pd.testing.assert_frame_equal(again.similarity, results.similarity, check_exact=True)


def test_an_estimator_of_your_own_is_used_in_the_process_that_knows_it(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gap(Y: torch.Tensor, Z: torch.Tensor) -> float:
        return float((Y - Z).norm() / Z.norm())

    monkeypatch.setitem(ESTIMATORS, "gap", Estimator("gap", "nobody", frozenset(), gap))
    less = ["tasks.only=[first, again]", "control.seeds=[0]", "experimental={sft: {mixture: all}}", "tasks.test=8"]
    less += ["recipe.budget={steps: 1}", "similarity={estimators: [gap, cka-linear], other_controls: 0}"]
    results = mossa.Study.load(settings, *less, runs=tmp_path).run(workers=2, device="cpu", report=False)
    assert "only this process knows the estimator gap" in capsys.readouterr().out and not results.failed
    found = results.similarity[results.similarity["estimator"] == "gap"]
    assert len(found) == 2 * 3 and (found["value"] > 0).all()


def test_a_unit_that_fails_is_among_the_results(settings: dict, tmp_path: Path) -> None:
    less = ["tasks.only=[first, again]", "control.seeds=[0]", "experimental={pretrained: base}"]
    less += ["recipe.learning_rate=1.0e+30", "similarity.affinity=false"]
    study = mossa.Study.load(settings, *less, runs=tmp_path)
    with pytest.raises(mossa.MossaError, match=r"rehearsal: an adapter of the recipe .* lower recipe\.learning_rate"):
        study.run(workers=1, device="cpu", progress=False)
    assert not study.folder.exists()
    results = study.run(workers=1, device="cpu", progress=False, rehearsal=False)
    why = results.failed["train control-first-seed0"]
    assert "the loss is nan" in why and why in repr(results) and "the loss is nan" in results._repr_html_()
    with pytest.raises(mossa.MossaError, match=r"no table 'similarity': 2 of 2 units of the step 'compare'"):
        print(results.similarity)
    assert set(results.evaluation["model"]) == {"pretrained"}


@pytest.mark.slow  # a fresh interpreter and two workers, each of which imports torch
def test_a_script_without_a_main_guard_can_use_several_workers(folder: Path) -> None:
    (folder / "runs/small/units/evaluate/sft@first/manifest.json").unlink()
    (folder / "runs/small/units/evaluate/sft@again/manifest.json").unlink()
    (folder / "script.py").write_text(
        "print('begun', flush=True)\n"
        "import mossa\n"
        "results = mossa.Study.load('small.yaml').run(workers=2, device='cpu', report=False)\n"
        "print(len(results.evaluation), results.failed, flush=True)\n"
    )
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("begun") == 1 and "2 units done" in ran.stdout, ran.stdout
    assert ran.stdout.rstrip().endswith("{}"), ran.stdout
