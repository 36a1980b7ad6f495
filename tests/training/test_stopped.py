"""A training that is stopped, at any moment, loses no finished step and goes on exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mossa.models.base import LoadedBase, load_base
from mossa.study.recipe import Budget, Lora, Recipe, Until
from mossa.study.schema import Base
from mossa.training import checkpoint, train
from mossa.training.train import Trained, train_adapter
from tests.training.test_train import encoded

RECIPE = Recipe(lora=Lora(rank=2, dropout=0.3), learning_rate=5e-3, batch_size=8)
STEPS = 6


@pytest.fixture(scope="module")
def base(base_folder: Callable[[str], Path]) -> LoadedBase:
    return load_base(Base(model=str(base_folder("llama"))))


def trained(base: LoadedBase, output: Path, checkpoints: Path | None = None, **options: Any) -> tuple[Trained, dict]:
    data = encoded(base)
    budget = options.pop("budget", Budget(steps=STEPS))
    row = train_adapter(base, data[:40], data[40:], RECIPE, budget, 5, output, checkpoints, "f", **options)
    return row, load_file(output / "adapter_model.safetensors")


def same(one: tuple[Trained, dict], other: tuple[Trained, dict]) -> bool:
    return one[0] == other[0] and all(torch.equal(one[1][name], other[1][name]) for name in one[1])


@pytest.fixture(scope="module")
def whole(base: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, dict]:
    return trained(base, tmp_path_factory.mktemp("whole"))


class Counted:
    """Raises `error` at the `when`-th call of a function that training uses, before or after it."""

    def __init__(self, function: Callable[..., Any], when: int, after: bool, error: type[BaseException]) -> None:
        self.function, self.left, self.after, self.error = function, when, after, error

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise self.error
        found = self.function(*given, **named)
        if self.left == 0:
            raise self.error
        return found


PLACES = ["_backward", "learning_rate", "count_targets", "save_adapter"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(PLACES),
    when=st.integers(1, STEPS),
    after=st.booleans(),
    error=st.sampled_from([KeyboardInterrupt, SystemExit]),
)
def test_a_stop_at_any_moment_loses_no_finished_step(
    base: LoadedBase,
    whole: tuple[Trained, dict],
    tmp_path_factory: pytest.TempPathFactory,
    place: str,
    when: int,
    after: bool,
    error: type[BaseException],
) -> None:
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            train, place, Counted(getattr(train, place), 1 if place == "save_adapter" else when, after, error)
        )
        with pytest.raises(error):
            trained(base, folder / "x", folder / "c")
    steps: list[int] = []
    found = trained(base, folder / "y", folder / "c", on_step=lambda step, *_: steps.append(step))
    assert same(found, whole)
    finished = STEPS if place == "save_adapter" else when - 1
    begun_to_change = place == "count_targets"  # the weights of that step have moved, and it has not counted
    if not begun_to_change:
        assert steps == list(range(finished + 1, STEPS + 1))


def test_a_stop_between_two_steps_keeps_them_and_looks_at_the_criterion(base: LoadedBase, tmp_path: Path) -> None:
    budget = Budget(until=Until(metric="loss", value=100.0, at_most_steps=9, check_every=2))
    expected = trained(base, tmp_path / "whole", budget=budget)
    assert expected[0].steps == 2 and expected[0].stopped_because == "criterion"

    def stop(step: int, *_: Any) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "x", tmp_path / "c", budget=budget, on_step=stop)
    steps: list[int] = []
    found = trained(base, tmp_path / "y", tmp_path / "c", budget=budget, on_step=lambda step, *_: steps.append(step))
    assert steps == [] and same(found, expected)


@pytest.mark.parametrize(("cost", "count"), [(0.0, 3), (1.0, 3), (4.0, 2)])  # seconds; eight steps of a minute
def test_checkpoints_follow_time_and_what_writing_costs(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float, count: int
) -> None:
    clock = [0.0]
    written: list[int] = []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    write = checkpoint.save_file

    def save(*given: Any, **named: Any) -> None:
        clock[0] += cost
        write(*given, **named)
        written.append(round(clock[0]))

    monkeypatch.setattr(checkpoint, "save_file", save)

    def minute(*_: Any) -> None:
        clock[0] += 60

    trained(base, tmp_path / "a", tmp_path / "c", budget=Budget(steps=8), on_step=minute)
    between = [later - earlier for earlier, later in zip([0, *written], written, strict=False)]
    assert all(span >= max(checkpoint.INTERVAL, cost / checkpoint.SHARE) for span in between[1:])
    assert written[0] == checkpoint.INTERVAL + cost and len(written) == count


def test_the_disk_being_full_does_not_hide_the_stop(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)

    def stop(step: int, *_: Any) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(base, tmp_path / "x", tmp_path / "c", on_step=stop)
