"""Mixtures: who is in, who is held out, and the cap per task cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.tasks.mixture import chosen_tasks, mix
from mossa.tasks.split import Limits
from mossa.tasks.task import Example, Task
from tests.tasks.reading import load_folder


def test_mixtures_name_tasks_and_clusters(task_folder: Path) -> None:
    tasks = load_folder(task_folder, Limits(60, 10, 20), 0)

    def names(mixture, hold_out=()) -> list[str]:
        return [task.name for task in chosen_tasks(tasks, mixture, hold_out, "experimental.sft")]

    assert names("all") == ["again", "colour", "first", "second"]
    assert names("all", ["naming"]) == ["again", "first"]
    assert names(["naming", "first"], ["colour"]) == ["first", "second"]
    with pytest.raises(DataError, match=r"experimental\.sft\.hold_out: 'namng' is neither.*Did you mean 'naming'"):
        names("all", ["namng"])
    with pytest.raises(DataError, match="nothing is left"):
        names(["first"], ["copying"])


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), cap=st.integers(1, 40), seed=st.integers(0, 2))
def test_the_cap_holds_per_cluster_and_draws_without_replacement(sizes: list[int], cap: int, seed: int) -> None:
    tasks = [
        Task(f"t{k}", f"c{k % 2}", tuple(Example(f"{k} {index}", "x") for index in range(size)), (), ())
        for k, size in enumerate(sizes)
    ]
    mixed = mix(tasks, cap, seed)
    assert len(set(mixed)) == len(mixed)
    for parity in (0, 1):
        available = sum(size for k, size in enumerate(sizes) if k % 2 == parity)
        assert sum(int(example.prompt.split()[0]) % 2 == parity for example in mixed) == min(cap, available)
    assert mix(tasks, cap, seed) == mixed
    assert len(mix(tasks, None, seed)) == sum(sizes)
