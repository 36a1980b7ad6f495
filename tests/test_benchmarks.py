"""Each benchmark runs from end to end, small, and its contenders agree; that for GPUs refuses where there is none."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run.command import environment

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(*words: str, script: str = "gpu") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / f"{script}.py"), *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)


def test_a_rehearsal_gives_every_figure_and_says_that_it_is_one(tmp_path: Path) -> None:
    done = run("--small", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    assert "REHEARSAL" in done.stdout.splitlines()[0]
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["rehearsal"] is True and [row["shape"] for row in written["rows"]] == ["small"]
    row = written["rows"][0]
    counted = ("matmul_tflops", "training_tokens_per_second", "extraction_prompts_per_second", "compare_seconds_on_cpu")
    assert all(row[name] > 0 for name in (*counted, "training_share", "extraction_share"))
    assert row["compared"] == {"n": written["size"]["prompts"], "layers": 3, "d": 64, "models": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    done = run("--json", str(tmp_path / "figures.json"))
    assert done.returncode == 2 and "torch finds none here. --small rehearses on the CPU" in done.stderr
    assert done.stdout == "" and not (tmp_path / "figures.json").exists()


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module behind `make gpu`."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu_day")


@pytest.mark.parametrize(
    ("step", "counted"),
    [
        ("correct", "llama, again, adapter"),
        ("training", "small, as a run does it, checkpointing True, true tokens/s"),
        ("determinism", "not asked for, seconds a step"),
        ("comparison", "spectrum on cpu, s"),
    ],
)
def test_each_step_of_a_day_with_a_gpu_runs_on_its_own(step: str, counted: str, day: Any) -> None:
    found = {key: value for part in day.STEPS[step].run(True) for key, value in part.items()}
    assert isinstance(found[counted], float) and found[counted] >= 0
    if step == "correct":  # here the GPU is this CPU: only number format and computing again differ
        assert found["llama, gpu, adapter"] == 0 and found["llama, again, adapter"] < 1e-4
        assert 0 < found["llama, bfloat16, representations"] < 0.1
    if step == "determinism":
        assert found["as a run does it, same to the bit"] and found["not asked for, same to the bit"]


@pytest.mark.slow  # a study on the command line
def test_the_study_of_that_day_runs(day: Any) -> None:
    found = {key: value for part in day.STEPS["study"].run(True) for key, value in part.items()}
    assert found["rows with a value"] > 0 and found["cpu, seconds"] > 0


def test_a_day_with_a_gpu_goes_on_where_it_stopped_and_says_what_is_missing(tmp_path: Path) -> None:
    whole = {"whole": True, "found": {"llama, gpu, adapter": 1e-5}}
    (tmp_path / "correct.json").write_text(json.dumps(whole))
    (tmp_path / "environment.json").write_text(json.dumps(whole | {"whole": False}))
    done = run("environment", "correct", "--small", "--out", str(tmp_path), script="gpu_day")
    assert done.returncode == 0, done.stderr
    assert "environment: the rates" in done.stdout and "correct: whether" not in done.stdout
    assert "REHEARSAL, its figures mean nothing: CPU" in done.stdout
    assert "| correct | llama, gpu, adapter | 1e-05 | float32 below 1e-4" in done.stdout
    assert "| suite | not done | run the same command again | no failure |" in done.stdout
    assert json.loads((tmp_path / "environment.json").read_text())["found"]["bfloat16_tflops"] > 0


def figures(script: str, folder: Path) -> dict[str, Any]:
    """Return the rows that a benchmark writes in its smallest size."""
    done = run("--quick", "--json", str(folder / "new" / "figures.json"), script=script)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "new" / "figures.json").read_text())["rows"]


@pytest.mark.slow  # each contender is a process of its own
def test_all_ways_to_take_representations_give_the_same(tmp_path: Path) -> None:
    found = figures("extraction", tmp_path)
    for rows in found["contenders"].values():
        assert rows.keys() == {"ours", "authors", "padded", "ordered"}
        assert max(row["deviation"] for row in rows.values()) < 1e-5
        assert min(row["processor_seconds"] for row in rows.values()) > 0


@pytest.mark.slow
def test_all_ways_to_train_give_the_same_losses_and_the_base_is_loaded_once(tmp_path: Path) -> None:
    found = figures("training", tmp_path)
    for rows in found["contenders"].values():
        assert rows["trl"].get("missing") or len(rows["trl"]["losses"]) == len(rows["ours"]["losses"]) == 3
        assert max(row["deviation"] for row in rows.values() if "missing" not in row) < 1e-4
    assert (found["adapters"], found["loads"]) == (2, 1)


@pytest.mark.slow
def test_a_study_gives_the_similarities_of_the_straightforward_pipeline(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="the peers' pipeline needs TRL: pip install 'mossa[bench]'")
    found = figures("study", tmp_path)
    assert found["peers"]["largest_gap"] < 1e-3 and found["ratio"] > 0


@pytest.mark.slow
def test_units_grow_with_tasks_and_only_affinity_with_their_square(tmp_path: Path) -> None:
    found = figures("growth", tmp_path)
    assert found["units by tasks"]["60"] / found["units by tasks"]["30"] == pytest.approx(2, rel=0.02)
    assert found["units by tasks, affinity"]["60"] / found["units by tasks, affinity"]["30"] > 3
    assert all(seconds > 0 for sizes in found.values() for seconds in sizes.values())


def test_two_processes_train_the_adapter_of_one(tmp_path: Path) -> None:
    found = figures("data_parallel", tmp_path)
    assert found["apart"] < 1e-5
    assert all(seconds > 0 for way in found["seconds"].values() for seconds in way)
