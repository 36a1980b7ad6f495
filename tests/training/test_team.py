"""Trainings that several processes share: the adapter of one process to rounding, and no step lost when one dies."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from mossa.models.batches import Allowance
from mossa.models.prompts import Encoded
from mossa.study.recipe import Budget, Lora, Recipe, Until
from mossa.training import train
from mossa.training.team import ALONE, Team, TeamLost, joined
from mossa.training.train import train_adapter
from tests.training.test_gradient import double_base, some_examples

RECIPE = Recipe(lora=Lora(rank=4, alpha=8, targets="all-linear"), learning_rate=5e-3, batch_size=5, checkpoint_every=2)


def together(folder: Path, size: int, work: Callable[[Team], Any]) -> list[tuple[str, Any]]:
    """Return, for each of `size` real processes, `ok` and what `work` gave, the name of its error, or how it ended."""
    context = multiprocessing.get_context("fork")
    meeting = folder / "meeting"

    def process(rank: int, pipe: Any) -> None:
        torch.set_num_threads(1)
        try:
            with joined(rank, size, meeting, torch.device("cpu")) as team:
                pipe.send_bytes(pickle.dumps(("ok", work(team))))
        except Exception as error:
            pipe.send_bytes(pickle.dumps((type(error).__name__, str(error))))
        os._exit(0)

    running = []
    for rank in range(size):
        mine, other = context.Pipe()
        started = context.Process(target=process, args=(rank, other))
        started.start()
        other.close()
        running.append((started, mine))
    found = []
    for started, pipe in running:
        try:
            found.append(pickle.loads(pipe.recv_bytes()) if pipe.poll(120) else ("silent", None))
        except EOFError:
            found.append(("died", None))
        started.join(20)
        assert started.exitcode is not None, "a process of the team hangs"
    assert not meeting.exists()
    return found


@given(st.lists(st.integers(1, 2000), max_size=60), st.integers(1, 9))
def test_parts_are_all_of_the_batch_and_of_about_the_same_size(lengths: list[int], size: int) -> None:
    parts = [Team(rank, size).part(lengths) for rank in range(size)]
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    tokens = [sum(lengths[index] for index in part) for part in parts]
    assert max(tokens) - min(tokens) <= max(lengths, default=0)
    assert ALONE.part(lengths) == list(range(len(lengths)))


def trained(
    folder: Path, team: Team = ALONE, steps: int = 6, recipe: Recipe = RECIPE, budget: Budget | None = None, **more: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    base = double_base("llama")
    examples = some_examples(13)
    found = train_adapter(
        base, examples, some_examples(7), recipe, budget or Budget(steps=steps), 3, folder, team=team, **more
    )
    return load_file(folder / "adapter_model.safetensors"), found.as_dict()


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance)


def assert_told(found: dict[str, Any], expected: dict[str, Any]) -> None:
    words = {"stopped_because": expected["stopped_because"]}
    assert {name: found[name] for name in words} == words
    assert {**found, **dict.fromkeys(words, 0)} == pytest.approx({**expected, **dict.fromkeys(words, 0)}, rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 7])  # seven: more than a batch has examples
def test_the_adapter_is_that_of_one_process(tmp_path: Path, size: int) -> None:
    alone, told = trained(tmp_path / "alone")
    found = together(tmp_path, size, lambda team: trained(tmp_path / f"rank{team.rank}", team))
    assert [state for state, _ in found] == ["ok"] * size
    for _, (adapter, trained_as) in found:
        assert_alike(adapter, alone, 1e-12)
        assert_told(trained_as, told)
        assert all(torch.equal(adapter[name], found[0][1][0][name]) for name in adapter)  # no process drifts


@pytest.mark.parametrize("architecture", ["gpt2", "mixtral", "bloom"])
def test_one_step_of_other_architectures(tmp_path: Path, architecture: str) -> None:
    """Also where experts are left out by a part of the batch, and where sums are taken in float32 (bloom, mixtral)."""

    def one(team: Team) -> dict[str, torch.Tensor]:
        folder = tmp_path / f"{team.size}-{team.rank}"
        train_adapter(double_base(architecture), some_examples(9), [], RECIPE, Budget(steps=1), 0, folder, team=team)
        return load_file(folder / "adapter_model.safetensors")

    alone = one(ALONE)
    for state, adapter in together(tmp_path, 2, one):
        assert state == "ok"
        assert_alike(adapter, alone, 1e-12 if architecture == "gpt2" else 1e-5)


@pytest.mark.parametrize(("metric", "value"), [("loss", 1.0), ("exact_match", 0.5)])
def test_a_criterion_is_judged_over_all_parts(tmp_path: Path, metric: Any, value: float) -> None:
    budget = Budget(until=Until(metric=metric, value=value, check_every=2, at_most_steps=40))
    recipe = RECIPE.model_copy(update={"learning_rate": 3e-2, "batch_size": 13})
    _, alone = trained(tmp_path / "alone", budget=budget, recipe=recipe)
    assert alone["steps"] == 6 and alone["stopped_because"] == "criterion"
    for state, found in together(
        tmp_path, 2, lambda team: trained(tmp_path / f"r{team.rank}", team, recipe=recipe, budget=budget)
    ):
        assert state == "ok"
        assert_told(found[1], alone)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_process_is_killed_the_training_goes_on_from_the_last_step(
    tmp_path: Path, victim: int, dropout: float
) -> None:
    lora = RECIPE.lora.model_copy(update={"dropout": dropout})
    recipe = RECIPE.model_copy(update={"lora": lora})

    def run(folder: Path, killed: int | None = None) -> list[tuple[str, Any]]:
        def work(team: Team) -> Any:
            seen: list[int] = []

            def on_step(done: int, _total: int, _loss: float) -> None:
                seen.append(done)
                if team.rank == killed and done == 5:
                    os.kill(os.getpid(), signal.SIGKILL)

            more = {"checkpoints": folder / "checkpoints", "fingerprint": "f", "on_step": on_step}
            return trained(folder / f"rank{team.rank}", team, steps=9, recipe=recipe, **more)[0], seen

        folder.mkdir(exist_ok=True)
        return together(folder, 2, work)

    whole = run(tmp_path / "whole")
    broken = run(tmp_path / "broken", killed=victim)
    assert broken[victim][0] == "died" and broken[1 - victim][0] == "TeamLost"
    again = run(tmp_path / "broken")
    # the first process writes every two steps, and when it learns that the other is gone
    assert again[0][1][1] == again[1][1][1] == list(range(6 if victim else 5, 10))
    for rank in range(2):
        for name, tensor in whole[rank][1][0].items():
            assert torch.equal(again[rank][1][0][name], tensor)


@pytest.mark.parametrize("seed", [0, 20261126133000, 2**63 - 1])
def test_every_seed_that_a_study_may_have_draws_its_own_numbers_for_each_process_and_step(seed: int) -> None:
    drawn: set[float] = set()
    with torch.random.fork_rng([]):
        for rank in (1, 2):
            for step in (0, 1):
                Team(rank, 3).seed(seed, step)
                drawn.add(float(torch.rand(())))
    assert len(drawn) == 4


def test_what_fails_in_one_process_fails_in_all_with_its_reason(tmp_path: Path) -> None:
    def work(team: Team) -> Any:
        def compute() -> tuple[float, float]:
            if team.rank == 1:
                raise ValueError("no such token")
            return 1.0, 2.0

        return team.summed(compute)

    assert together(tmp_path, 2, work) == [
        ("TrainingError", "another process of this training failed: no such token"),
        ("ValueError", "no such token"),
    ]


def test_memory_that_runs_out_in_one_process_halves_its_batches_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = trained(tmp_path / "alone", steps=3)
    real = train.backward

    def work(team: Team) -> Any:
        allowance, full = Allowance(), [team.rank == 1]

        def backward(model: Any, examples: list[Encoded], *rest: Any) -> float:
            found = real(model, examples, *rest)
            if full.pop() if full else False:
                raise torch.OutOfMemoryError("out of memory")  # after the gradient was added
            return found

        monkeypatch.setattr(train, "backward", backward)
        return trained(tmp_path / f"r{team.rank}", team, steps=3, allowance=allowance)[0], allowance.halvings

    found = together(tmp_path, 2, work)
    assert [state for state, _ in found] == ["ok", "ok"]
    assert [halvings for _, (_, halvings) in found] == [0, 1]
    for _, (adapter, _) in found:
        assert_alike(adapter, alone, 1e-12)


def test_processes_that_would_go_on_from_different_steps_do_not_start(tmp_path: Path) -> None:
    found = together(tmp_path, 2, lambda team: team.check_step(4 + team.rank))
    assert {state for state, _ in found} == {TeamLost.__name__}
    assert "steps [4, 5]" in found[0][1]
