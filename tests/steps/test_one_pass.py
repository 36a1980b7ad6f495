"""A model goes over a test set once: what it is represented with also gives the losses of its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mossa.run.perform import perform
from mossa.run.queue import Queue
from mossa.run.run import Prepared, prepare
from mossa.steps.context import StepContext
from mossa.steps.job import Job
from mossa.store.tensors import map_tensors
from mossa.study.schema import StudySettings
from mossa.units.unit import Unit

REPRESENT, EVALUATE = "represent/pretrained@first", "evaluate/pretrained@first"


@pytest.fixture
def study(base_folder: Callable[[str], Path], task_folder: Path) -> dict[str, Any]:
    return {
        "name": "once",
        "base": {"model": str(base_folder("llama"))},
        "tasks": {"source": str(task_folder), "train": 20, "validation": 4, "test": 12},
        "recipe": {"preset": "small", "budget": {"steps": 4}},
    }


def ready(study: dict[str, Any], folder: Path) -> tuple[Prepared, Callable[[], StepContext]]:
    """Return a study to be run, and what makes a new worker for it."""
    prepared = prepare(StudySettings.model_validate(study), folder)
    prepared.run.prepare()
    job = Job(prepared.study, prepared.tasks, prepared.run, prepared.fingerprints, prepared.rendering)
    return prepared, lambda: StepContext(job, "cpu")


def do(prepared: Prepared, context: StepContext, name: str) -> int:
    """Do a unit; return how many tokens went through the base."""
    fed: list[int] = []
    inputs = context.base.model.get_input_embeddings()
    hook = inputs.register_forward_hook(lambda _m, ids, _o: fed.append(ids[0].numel()))
    assert perform(prepared.units[name], context).state == "done"
    hook.remove()
    return sum(fed)


def results(prepared: Prepared) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    folder = prepared.run.folder(EVALUATE)
    array = map_tensors(prepared.run.folder(REPRESENT) / "representations.safetensors")["representations"]
    return array, pd.read_parquet(folder / "evaluation.parquet"), pd.read_parquet(folder / "replies.parquet")


def test_one_pass_serves_both_and_another_worker_finds_the_same_to_the_bit(study: dict, tmp_path: Path) -> None:
    prepared, worker = ready(study, tmp_path / "one")
    one = worker()
    do(prepared, one, REPRESENT)
    replying = do(prepared, one, EVALUATE)
    apart, workers = ready(study, tmp_path / "two")
    do(apart, workers(), REPRESENT)
    both = do(apart, workers(), EVALUATE)  # it holds no losses, so it takes a pass of its own
    tokens = sum(len(example.tokens) for example in one.encoded("first", "test", True))
    assert both - replying >= tokens
    for here, there in zip(results(prepared), results(apart), strict=True):
        assert here.equals(there) if isinstance(here, pd.DataFrame) else (here == there).all()
    first, second = results(prepared)[1].iloc[0], results(apart)[1].iloc[0]
    assert first["loss"] == second["loss"] and first["n"] == 12


def test_losses_are_of_the_unit_that_asks_for_them(study: dict, tmp_path: Path) -> None:
    prepared, worker = ready(study, tmp_path)
    context = worker()
    do(prepared, context, REPRESENT)
    do(prepared, context, "represent/pretrained@second")  # done before the first is evaluated
    do(prepared, context, EVALUATE)
    alone, workers = ready(study, tmp_path / "alone")
    do(alone, workers(), EVALUATE)
    row, expected = (
        pd.read_parquet(each.run.folder(EVALUATE) / "evaluation.parquet").iloc[0] for each in (prepared, alone)
    )
    assert row["loss"] == expected["loss"]


def test_prompts_that_make_room_for_a_target_are_represented_whole(study: dict, tmp_path: Path) -> None:
    longest = max(len(each.tokens) for each in ready(study, tmp_path / "x")[1]().encoded("first", "test", False))
    study["prompt"] = {"cutoff": longest, "too_long": "shorten-start"}
    prepared, worker = ready(study, tmp_path / "short")
    context = worker()
    prompts, examples = (context.encoded("first", "test", with_target) for with_target in (False, True))
    assert [each.prompt_length for each in prompts] != [each.prompt_length for each in examples]
    do(prepared, context, REPRESENT)
    assert context.scores is None
    do(prepared, context, EVALUATE)
    whole, workers = ready({**study, "prompt": {}}, tmp_path / "whole")
    do(whole, workers(), REPRESENT)
    assert results(prepared)[0] == pytest.approx(
        map_tensors(whole.run.folder(REPRESENT) / "representations.safetensors")["representations"], rel=1e-4, abs=1e-5
    )


def test_other_formats_take_a_pass_each(study: dict, tmp_path: Path) -> None:
    study["base"]["dtype"] = "bfloat16"
    study["representations"] = {"dtype": "float32"}
    prepared, worker = ready(study, tmp_path)
    assert prepared.units[EVALUATE].after is None
    context = worker()
    do(prepared, context, REPRESENT)
    assert context.scores is None


def test_an_evaluation_waits_for_its_pass_but_not_for_one_that_failed() -> None:
    units = [Unit("represent", "m@t", {}, model="m"), Unit("evaluate", "m@t", {}, model="m", after="represent/m@t")]
    queue = Queue({unit.id: unit for unit in units}, [unit.id for unit in units])
    assert [queue.next(), queue.next()] == [units[0], None]
    assert queue.fail("represent/m@t", "no memory") == []
    assert queue.next() == units[1]
    again = Queue({unit.id: unit for unit in units}, ["evaluate/m@t"])  # it was represented in an earlier run
    assert again.next() == units[1]
