"""`--data-parallel`: workers share the training of a mixture, on every engine, also when one of them is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.run.command import Ran, assert_same, mossa, started, tables
from tests.run.test_engines import UNITS, ended, ray_cluster, wait_for

ADAPTER = "runs/small/units/train/sft/adapter/adapter_model.safetensors"
SHARED = ["--workers", "2", "--data-parallel", "2", "--no-report"]


@pytest.fixture(scope="module")
def long(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study whose mixture takes long enough to be met at work, and that was run by a team."""
    chosen = {"pretrained": "base", "sft": {"mixture": "all", "budget": {"steps": 150}}}
    found = {**settings, "control": {"seeds": [0]}, "experimental": chosen, "place": False, "similarity": {}}
    found["tasks"] = {
        **found["tasks"],
        "only": sorted(path.stem for path in Path(found["tasks"]["source"]).glob("*"))[:2],
    }
    folder = tmp_path_factory.mktemp("long")
    (folder / "small.yaml").write_text(yaml.safe_dump(found))
    ran = mossa(folder, "run", "small.yaml", *SHARED)
    assert ran.code == 0, ran.output
    return folder


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / ADAPTER)


def counts(folder: Path, unit: str) -> dict[str, Any]:
    return json.loads((folder / UNITS / unit / "manifest.json").read_text())["counts"]


def test_the_study_is_that_of_one_process_to_rounding(
    settings: dict, finished: tuple[Path, Ran], tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    ran = mossa(tmp_path, "run", "small.yaml", *SHARED)
    assert ran.code == 0, ran.output
    for name, tensor in adapter(finished[0]).items():
        torch.testing.assert_close(adapter(tmp_path)[name], tensor, rtol=1e-5, atol=1e-5)
    assert counts(tmp_path, "train/sft")["processes"] == counts(tmp_path, "train/unseen")["processes"] == 2
    assert "processes" not in counts(finished[0], "train/sft")
    found, expected = tables(tmp_path), tables(finished[0])
    assert found.keys() == expected.keys()
    controls = expected["adapters"]["role"] == "control"  # each trained by one worker, so the same to the bit
    assert_same({"adapters": found["adapters"][controls]}, {"adapters": expected["adapters"][controls]})
    steps = found["adapters"].set_index("adapter")[["steps", "target_tokens"]]
    assert steps.equals(expected["adapters"].set_index("adapter")[["steps", "target_tokens"]])
    again = mossa(tmp_path, "run", "small.yaml", "--workers", "1")  # how many share it changes no fingerprint
    assert "Nothing to do" in again.output


def at_work(folder: Path, process: Any) -> list[int]:
    """Wait until two workers are some checkpoints into the mixture, and return their processes."""
    wait_for(lambda: (folder / UNITS / ".work/checkpoint-train-sft/checkpoint.safetensors").is_file())
    run = psutil.Process(process.pid)
    workers = [worker.pid for child in run.children() for worker in child.children()]  # of the server that forks them
    assert len(workers) == 2
    return sorted(workers)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_replaced_and_the_training_goes_on(long: Path, tmp_path: Path, victim: int) -> None:
    shutil.copy(long / "small.yaml", tmp_path)
    with started(tmp_path, "run", "small.yaml", *SHARED) as process:
        os.kill(at_work(tmp_path, process)[victim], signal.SIGKILL)
        ran = ended(process)
    assert ran.code == 0, ran.output
    assert "exit code -9" in ran.output and "It is replaced" in ran.output
    assert counts(tmp_path, "train/sft")["processes"] == 2
    assert not list((tmp_path / UNITS / ".work").iterdir())
    assert all(torch.equal(adapter(tmp_path)[name], tensor) for name, tensor in adapter(long).items())


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_ended_goes_on_also_with_another_number_of_workers(long: Path, tmp_path: Path, stop: int) -> None:
    shutil.copy(long / "small.yaml", tmp_path)
    with started(tmp_path, "run", "small.yaml", *SHARED) as process:
        at_work(tmp_path, process)
        os.killpg(process.pid, stop)
        ended(process)
    assert (tmp_path / UNITS / ".work/checkpoint-train-sft/checkpoint.safetensors").is_file()
    ran = mossa(tmp_path, "run", "small.yaml", "--workers", "1", "--no-report")
    assert ran.code == 0, ran.output
    for name, tensor in adapter(long).items():
        torch.testing.assert_close(adapter(tmp_path)[name], tensor, rtol=1e-3, atol=1e-4)


def test_two_shards_each_with_a_team(settings: dict, finished: tuple[Path, Ran], tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    with ExitStack() as stack:
        shards = [
            stack.enter_context(started(tmp_path, "run", "small.yaml", *SHARED, "--shard", f"{k}/2")) for k in (1, 2)
        ]
        ran = [ended(shard) for shard in shards]
    assert [shard.code for shard in ran] == [0, 0], [shard.output for shard in ran]
    assert {counts(tmp_path, f"train/{name}")["processes"] for name in ("sft", "unseen")} == {2}
    for name, tensor in adapter(finished[0]).items():
        torch.testing.assert_close(adapter(tmp_path)[name], tensor, rtol=1e-5, atol=1e-5)


def test_two_actors_of_ray_share_a_training(long: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    shutil.copy(long / "small.yaml", tmp_path)
    with ray_cluster() as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        words = ["run", "small.yaml", "--no-report", "--engine", "ray", "--address", address]
        more = mossa(tmp_path, *words, "--data-parallel", "3")
        ran = mossa(tmp_path, *words, "--data-parallel", "2")
    assert more.code == 2 and "there are 2 workers" in more.output
    assert ran.code == 0, ran.output
    assert counts(tmp_path, "train/sft")["processes"] == 2
    assert all(torch.equal(adapter(tmp_path)[name], tensor) for name, tensor in adapter(long).items())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data-parallel", "3", "--workers", "2"], "there are 2 workers"),
        (["--data-parallel", "2", "--workers", "1"], "there is 1 worker, and each takes part of the batch"),
        (["--data-parallel", "0"], "give 1 or more"),
    ],
)
def test_what_cannot_be_shared_is_a_sentence(settings: dict, tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    ran = mossa(tmp_path, "run", "small.yaml", *words)
    assert ran.code == 2 and sentence in ran.output, ran.output
