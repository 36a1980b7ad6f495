"""Models whose place of learning is known: adapters into which each group's gradient reaches only its own layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from mossa.models.adapters import new_adapter
from mossa.models.base import LoadedBase
from mossa.models.prompts import Encoded
from mossa.study.recipe import Lora, Recipe
from mossa.training.loss import backward, token_losses
from mossa.training.schedule import batches, learning_rate

RECIPE = Recipe(learning_rate=8e-4, schedule="cosine", warmup=0.03, batch_size=16)
RANK = 16
LEARNED = 0.95  # exact match on every group's validation examples that ends a training
CHECK_EVERY = 40


@dataclass(frozen=True, slots=True)
class Group:
    """Training and validation examples, and the layers, counted from 1, that their gradient reaches."""

    examples: Sequence[Encoded]
    validation: Sequence[Encoded]
    layers: tuple[int, ...]


@contextmanager
def planted(
    base: LoadedBase,
    groups: Sequence[Group],
    steps: int,
    seed: int,
    until: float = LEARNED,
    spare: Sequence[int] = (),
    rate: float = RECIPE.learning_rate,
) -> Iterator[tuple[Any, int]]:
    """Train one adapter for at most `steps` steps; yield the PEFT model and the steps; the base is left as it was.

    Every step takes one batch of each group. While a group's gradient is taken, the weights of all other layers need
    none, so nothing of it reaches them. Ends once every group's exact match is `until` (looked at every 40 steps).
    `spare` layers have an adapter that nothing reaches, so it stays 0.
    """
    recipe = RECIPE.model_copy(update={"learning_rate": rate})
    layers = sorted({*spare, *(layer for group in groups for layer in group.layers)})
    lora = Lora(rank=RANK, alpha=2 * RANK, targets="all-linear", layers=layers)
    with new_adapter(base, lora, seed) as adapted, torch.random.fork_rng():
        weights = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.AdamW(weights.values(), lr=0.0, weight_decay=0.0, fused=True)
        streams = [batches(len(group.examples), RECIPE.batch_size, seed) for group in groups]
        adapted.train()
        taken = 0
        for step, chosen in enumerate(islice(zip(*streams, strict=True), steps)):
            for group, indices in zip(groups, chosen, strict=True):
                for name, weight in weights.items():
                    weight.requires_grad_(layer_of(name) in group.layers)
                backward(adapted, [group.examples[index] for index in indices], base.device)
            torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
            for part in optimizer.param_groups:
                part["lr"] = learning_rate(step, steps, recipe)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            taken = step + 1
            if (
                until <= 1
                and taken % CHECK_EVERY == 0
                and all(exact_match(base, adapted, group) >= until for group in groups)
            ):
                break
        adapted.requires_grad_(False)
        yield adapted.eval(), taken


def exact_match(base: LoadedBase, adapted: Any, group: Group) -> float:
    """Return the share of a group's validation examples whose every target token is right."""
    adapted.eval()
    _losses, exact = token_losses(adapted, group.validation, base.device)
    adapted.train()
    return sum(exact) / len(exact)


def layer_of(name: str) -> int:
    """Return the layer, counted from 1, that a parameter's name tells."""
    found = re.search(r"\.(\d+)\.", name)
    assert found is not None, name
    return int(found[1]) + 1
