"""The order of examples, the number of steps and the learning rate."""

from __future__ import annotations

import math
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.models.prompts import Encoded
from mossa.study.recipe import Budget, Recipe, Until
from mossa.training.schedule import batches, learning_rate, planned_steps


@given(n=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 5))
def test_every_epoch_sees_every_example_once(n: int, size: int, seed: int) -> None:
    per_epoch = math.ceil(n / size)
    steps = list(islice(batches(n, size, seed), 2 * per_epoch))
    for epoch in (steps[:per_epoch], steps[per_epoch:]):
        assert sorted(index for step in epoch for index in step) == list(range(n))


@given(n=st.integers(1, 60), size=st.integers(1, 20), start=st.integers(0, 30))
def test_a_resumed_order_is_the_same_order(n: int, size: int, start: int) -> None:
    assert list(islice(batches(n, size, 7), start, start + 9)) == list(islice(batches(n, size, 7), start + 9))[start:]


def test_epochs_differ_and_seeds_differ() -> None:
    first, second = islice(batches(50, 50, 0), 2)
    assert first != second and first != next(batches(50, 50, 1))


@given(total=st.integers(1, 400), warmup=st.floats(0, 1), name=st.sampled_from(["cosine", "linear", "constant"]))
def test_the_learning_rate_rises_then_never_rises_again(total: int, warmup: float, name: str) -> None:
    recipe = Recipe(learning_rate=1e-3, warmup=warmup, schedule=name)
    rates = [learning_rate(step, total, recipe) for step in range(total)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1e-3 * (1 + 1e-12) for rate in rates)
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))


def test_cosine_is_the_schedule_of_transformers() -> None:
    import torch
    from transformers import get_cosine_schedule_with_warmup

    recipe = Recipe(learning_rate=1.0, warmup=0.1, schedule="cosine")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 0, 90)
    for step in range(90):
        assert learning_rate(step + 10, 100, recipe) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_budgets_become_steps() -> None:
    examples = [Encoded([1] * 10, 10 - index % 3 - 1, False, index) for index in range(50)]  # 1, 2 or 3 target tokens
    assert planned_steps(examples, Budget(epochs=3), 16, 0) == 12
    assert planned_steps(examples, Budget(steps=7), 16, 0) == 7
    assert planned_steps(examples, Budget(until=Until(metric="loss", value=1, at_most_steps=9)), 16, 0) == 9
    seen = 0
    steps = 0
    while seen < 150:
        seen += sum(1 + index % 3 for index in list(islice(batches(50, 16, 0), steps + 1))[-1])
        steps += 1
    assert planned_steps(examples, Budget(target_tokens=150), 16, 0) == steps
