"""Answer gain: how much sooner the tuned model's states give the answer, read with its own final norm and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mossa.place.change import Seen
from mossa.place.estimates import FEWEST, Floats, ratio, row, undefined
from mossa.place.stack import Side, Stack

READINGS = ("answer-gain", "answer-gain-increment")


def answer_gain(stack: Stack, seen: Seen, first_tokens: Sequence[int]) -> list[dict[str, Any]]:
    """Return rows of `answer-gain` and of its increment from the layer below, L each.

    At every layer the state at the last prompt token goes through final norm and head (the logit lens); the value is
    the loss of the first answer token in the base minus that in the tuned model, in nats.
    """
    n, layers = len(first_tokens), range(1, stack.layers + 1)
    if n < FEWEST:
        return undefined(layers, READINGS, n, f"only {n} prompts; {FEWEST} are needed")
    labels = torch.tensor(list(first_tokens))
    gains = _lens(stack, "base", seen, labels) - _lens(stack, "tuned", seen, labels)
    finite = np.isfinite(gains).all(1)
    gains, n = gains[finite], int(finite.sum())
    if n < FEWEST:
        return undefined(layers, READINGS, n, f"only {n} prompts have finite losses; {FEWEST} are needed")
    ones = np.ones(n)
    steps = np.diff(gains, axis=1)
    return [row(layer, READINGS[0], ratio(gains[:, layer], ones), n) for layer in layers] + [
        row(layer, READINGS[1], ratio(steps[:, layer - 1], ones), n) for layer in layers
    ]


@torch.no_grad()
def _lens(stack: Stack, side: Side, seen: Seen, labels: torch.Tensor) -> Floats:
    """Return the loss of the first answer token at layers 0..L, `[n, L + 1]`."""
    model = stack.models[side]
    states = seen.own[side].to(stack.device, next(model.parameters()).dtype)
    return np.stack([stack.losses(side, states[:, place], labels).numpy() for place in range(stack.layers + 1)], axis=1)
