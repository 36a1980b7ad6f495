"""A GPU that fails takes its process with it, not the study: another process does the unit, without a bad GPU.

There is no GPU here, so the base's own code raises what torch raises when a kernel has failed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mossa.errors import DeviceLost, ModelError
from mossa.models.batches import lost_its_device
from mossa.run.engines.local import run_here, run_in_processes
from mossa.run.events import Event, Outcome
from mossa.run.queue import Queue
from mossa.run.run import prepare
from mossa.steps.job import Job
from mossa.study import load_study

FAILED = "CUDA error: an illegal memory access was encountered\\nCUDA kernel errors might be asynchronously reported"
OWN_CODE = """
from pathlib import Path
import torch
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own_llama"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        left = Path("{left}")
        if int(left.read_text()):
            left.write_text(str(int(left.read_text()) - 1))
            {fails}
        return super().forward(*args, **kwargs)
"""


@pytest.fixture
def failing(base_folder: Callable[[str], Path], task_folder: Path, tmp_path: Path) -> Callable[..., tuple[Job, Queue]]:
    """Return a function that gives the trainings of a study whose base fails so many times."""
    folder = Path(shutil.copytree(base_folder("llama"), tmp_path / "own"))
    config = json.loads((folder / "config.json").read_text())
    places = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own_llama", "auto_map": places}))
    settings = {
        "name": "small",
        "base": {"model": str(folder), "trust_remote_code": True, "dtype": "float32"},
        "tasks": {"source": str(task_folder), "train": 8, "validation": 4, "test": 8},
        "recipe": {"preset": "small", "batch_size": 8, "budget": {"steps": 1}},
        "experimental": {"pretrained": "base"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))

    def make(times: int, fails: str = f'raise torch.AcceleratorError("{FAILED}")') -> tuple[Job, Queue]:
        (folder / "modeling_own.py").write_text(OWN_CODE.format(left=tmp_path / "left", fails=fails))
        (tmp_path / "left").write_text(str(times))
        prepared = prepare(load_study(tmp_path / "small.yaml"), tmp_path / "runs", {"train"})
        prepared.run.prepare()
        job = Job(prepared.study, prepared.tasks, prepared.run, prepared.fingerprints, prepared.rendering)
        return job, Queue(prepared.units, prepared.units)

    return make


def settling(queue: Queue, ended: dict[str, str]) -> Callable[[Event], None]:
    def settle(event: Event) -> None:
        if isinstance(event, Outcome):
            ended[event.identifier] = event.state
            queue.done(event.identifier) if event.state == "done" else queue.fail(event.identifier, event.reason)

    return settle


def test_the_process_is_replaced_and_every_unit_is_done(failing: Any) -> None:
    job, queue = failing(1)
    ended: dict[str, str] = {}
    said: list[str] = []
    run_in_processes(job, queue, ["cpu"], 1, settling(queue, ended), said.append)
    assert set(ended.values()) == {"done"} and len(ended) == 4
    assert len(said) == 1 and "A worker died during train control-" in said[0] and "illegal memory access" in said[0]


def test_a_device_that_fails_over_one_unit_after_another_is_given_up(failing: Any) -> None:
    job, queue = failing(1000)
    ended: dict[str, str] = {}
    said: list[str] = []
    with pytest.raises(DeviceLost, match="cpu failed during train control-"):
        run_in_processes(job, queue, ["cpu"], 1, settling(queue, ended), said.append)
    assert (
        list(ended.values()) == ["failed"] and len(queue.todo) == 3
    )  # what is left is for other shards, or another day
    assert said[-1] == "The worker on cpu is no longer used: its device fails in one unit after another."


def test_without_a_process_to_lose_the_run_ends_with_a_sentence_and_no_unit_has_failed(failing: Any) -> None:
    job, queue = failing(1000)
    ended: dict[str, str] = {}
    with pytest.raises(DeviceLost, match=r"cpu failed during train control-.* \(CUDA error: an illegal memory access"):
        run_here(job, queue, "cpu", 1, settling(queue, ended))
    assert not ended and len(queue.todo) == 4 and not list((job.run.path / "units/.failed").glob("*/*"))


def test_what_is_lost_is_told_from_what_is_only_too_large() -> None:
    assert lost_its_device(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    assert lost_its_device(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"))
    assert not lost_its_device(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert not lost_its_device(RuntimeError("CUDA error: out of memory"))
    assert not lost_its_device(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    wrapped = ModelError("base.model: it cannot be loaded")
    wrapped.__cause__ = RuntimeError("CUDA error: an illegal instruction was encountered")
    assert lost_its_device(wrapped)


@pytest.mark.parametrize("engine", ["here", "processes"])
def test_an_operation_without_a_deterministic_variant_is_let_through_and_told(failing: Any, engine: str) -> None:
    job, queue = failing(1000, "torch.zeros(4).put_(torch.tensor([1]), torch.tensor([2.0]))")
    ended: dict[str, str] = {}
    if engine == "here":
        run_here(job, queue, "cpu", 1, settling(queue, ended))
    else:
        run_in_processes(job, queue, ["cpu"], 1, settling(queue, ended), [].append)
    assert set(ended.values()) == {"done"} and len(ended) == 4
    notes = [json.loads(path.read_text()).get("notes", []) for path in job.run.path.glob("units/train/*/manifest.json")]
    told = [note for each in notes for note in each if "no deterministic variant" in note and "put_" in note]
    assert len(notes) == 4 and len(told) == 1, "the process is told once, by the unit that met it"
