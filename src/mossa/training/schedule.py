"""Which examples each optimizer step sees, how many steps there are, and the learning rate of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mossa.models.prompts import Encoded
from mossa.study.recipe import Budget, Recipe
from mossa.training.loss import count_targets


def batches(n_examples: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield the example indices of step after step, for ever: each epoch is a fresh permutation drawn from `seed`.

    The last batch of an epoch may be smaller. Step k is always the same, so a resumed run skips to it exactly.
    """
    epoch = 0
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(n_examples).tolist()
        for start in range(0, n_examples, batch_size):
            yield order[start : start + batch_size]
        epoch += 1


def planned_steps(examples: Sequence[Encoded], budget: Budget, batch_size: int, seed: int) -> int:
    """Return the optimizer steps that `budget` asks for; for `until`, the most it allows."""
    per_epoch = math.ceil(len(examples) / batch_size)
    if budget.epochs is not None:
        return max(1, round(budget.epochs * per_epoch))
    if budget.steps is not None:
        return budget.steps
    if budget.until is not None:
        return budget.until.at_most_steps
    seen = 0
    for step, indices in enumerate(batches(len(examples), batch_size, seed), 1):
        seen += count_targets([examples[index] for index in indices])
        if seen >= (budget.target_tokens or 0):
            return step
    raise AssertionError("batches never end")


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """Return the learning rate of optimizer step `step` (0, 1, …): a linear rise, then the recipe's schedule."""
    rise = math.ceil(recipe.warmup * total)
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    return recipe.learning_rate * (1 - progress if recipe.schedule == "linear" else 1.0)
