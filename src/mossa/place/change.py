"""Readings from one pass over both models: the change that each layer makes on the same input, and the answer gain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch

from mossa.models.batches import Allowance, border_of, for_each_batch
from mossa.place.estimates import FEWEST, Floats, PlaceValue, norm_ratio, nothing, ratio, row, undefined
from mossa.place.stack import Side, Stack, Trace, Variant
from mossa.similarity import compare

TOKEN_BUDGET = {"cpu": 1024, "cuda": 8192}  # padded tokens whose states at all layers are in memory at once
Traces = dict[Side, Trace]
Found = tuple[PlaceValue | None, int, str | None]  # a number, its prompts, and why there is none
INPUTS = {"tuned": "", "base": ", base input"}  # whose input, and the suffix in the name of the reading

ANSWER_READINGS = ("answer-gain", "answer-gain-increment")


@dataclass(frozen=True, slots=True)
class Seen:
    """States at the last prompt token, float32 on the CPU.

    `own`: by model the states between its blocks, `[n, L + 1, d]`. `other`: by (whose input, which block) what a block
    makes of an input that is not its model's, `[n, L, d]`.
    """

    own: dict[str, torch.Tensor]
    other: dict[tuple[str, Variant], torch.Tensor] = field(default_factory=dict[tuple[str, Variant], torch.Tensor])


@torch.no_grad()
def see(
    stack: Stack,
    sequences: Sequence[Sequence[int]],
    variants: Sequence[Variant] = ("tuned",),
    *,
    inputs: Collection[str] = tuple(INPUTS),
    lengths: Sequence[int] | None = None,
    on_batch: Callable[[list[int], Traces], None] | None = None,
) -> Seen:
    """Run both models once, and at every layer with an update blocks on the other model's input.

    `variants`: which blocks the base's is compared with, on the `inputs` of these models; `tuned` and others such as
    one part of it. Every block runs once per model and once more on the other's input, so two variants of a block cost
    two forward passes each. `lengths`: how many tokens of each sequence are the prompt (default: all). `on_batch` sees
    all of each batch before it is freed.
    """
    n, width = len(sequences), stack.models["base"].config.get_text_config().hidden_size
    ends = [each - 1 for each in lengths or map(len, sequences)]
    crossed: list[tuple[str, Variant]] = [("tuned", "base")] if "tuned" in inputs else []
    crossed.extend((side, variant) for side in inputs for variant in variants if (side, variant) != ("tuned", "tuned"))
    seen = Seen({side: torch.zeros(n, stack.layers + 1, width) for side in stack.models})
    seen.other.update({key: torch.zeros(n, stack.layers, width) for key in crossed})

    def one(group: list[int]) -> None:
        batch = [sequences[index] for index in group]
        last = torch.tensor([ends[index] for index in group])
        traces: Traces = {side: stack.trace(side, batch) for side in stack.models}
        for side, trace in traces.items():
            for place, states in enumerate(trace.states):
                seen.own[side][group, place] = last_of(states, last)
        for layer in range(1, stack.layers + 1):
            for side, variant in crossed if stack.changed[layer] else ():
                made = stack.run_on_input(layer, variant, traces["base" if side == "base" else "tuned"])
                seen.other[side, variant][group, layer - 1] = last_of(made, last)
        if on_batch:
            on_batch(group, traces)

    sizes = list(map(len, sequences))
    border = border_of(stack.models["base"], max(sizes, default=0))
    for_each_batch(sizes, TOKEN_BUDGET[stack.device.type], Allowance(), one, border)
    return seen


def one_layer_change(
    stack: Stack,
    seen: Seen,
    groups: Sequence[Hashable] | None = None,
    variants: Sequence[Variant] = ("tuned",),
    inputs: Collection[str] = tuple(INPUTS),
) -> list[dict[str, Any]]:
    """Return rows of the change that each layer's block makes, L per reading.

    `one-layer-change`: 1 - debiased linear CKA of base's block and the tuned one on the tuned model's own input, within
    templates where `groups` are given. `relative-change`: ‖T(h) - B(h)‖ / ‖B(h) - mean‖. Both also on the base's input.
    `change-interaction`: how far the change on the one input is from that on the other, in the units of the second.
    `inputs` are those that were seen; the interaction needs both.
    """
    n = len(seen.own["base"])
    rows: list[dict[str, Any]] = []
    for variant in variants:
        name = "" if variant == "tuned" else f", {variant}"
        pairs = {side: _pair(seen, side, variant) for side in inputs}
        for side, (base, tuned) in pairs.items():
            rows += _each(stack, f"one-layer-change{INPUTS[side]}{name}", n, _distances(base, tuned, groups))
            rows += _each(stack, f"relative-change{INPUTS[side]}{name}", n, _relative(tuned - base, base))
        if len(pairs) < len(INPUTS):
            continue
        (b_on_t, t_on_t), (b_on_b, t_on_b) = pairs["tuned"], pairs["base"]
        rows += _each(stack, f"change-interaction{name}", n, _relative((t_on_t - b_on_t) - (t_on_b - b_on_b), b_on_t))
    return rows


def _each(stack: Stack, reading: str, n: int, found: Callable[[int], Found]) -> list[dict[str, Any]]:
    """Return one row per layer of a reading: what is found where there is an update, and 0 elsewhere."""
    layers = range(1, stack.layers + 1)
    if n < FEWEST:
        return undefined(layers, [reading], n, f"only {n} prompts; {FEWEST} are needed")
    return [
        row(layer, reading, *found(layer)) if stack.changed[layer] else nothing(layer, reading, n) for layer in layers
    ]


def _pair(seen: Seen, side: str, variant: Variant) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what base's block and the other make of one model's input, `[n, L, d]` each."""
    base = seen.own["base"][:, 1:] if side == "base" else seen.other["tuned", "base"]
    own = side == "tuned" and variant == "tuned"
    return base, seen.own["tuned"][:, 1:] if own else seen.other[side, variant]


def _distances(base: torch.Tensor, tuned: torch.Tensor, groups: Sequence[Hashable] | None) -> Callable[[int], Found]:
    """Return by layer 1 - CKA with its uncertainty, the prompts that were finite, and why there is no number."""
    estimator = f"cka-linear{'-within' if groups is not None else ''}-debiased"

    @cache
    def rows() -> list[dict[str, Any]]:
        return compare({"tuned": tuned}, base, [estimator], groups=groups, non_finite="drop").similarity

    def found(layer: int) -> Found:
        each = rows()[layer - 1]
        if each["value"] is None:
            return None, each["n"], each["reason"]
        low, high = (None if each[end] is None else 1 - each[end] for end in ("high", "low"))
        return PlaceValue(1 - each["value"], each["standard_error"], low, high), each["n"], each["reason"]

    return found


def _relative(changes: torch.Tensor, bases: torch.Tensor) -> Callable[[int], Found]:
    """Return by layer the norm of the changes, relative to the spread of the base's states over prompts."""

    def found(layer: int) -> Found:
        change, base = (each[:, layer - 1].double() for each in (changes, bases))
        finite = torch.isfinite(change).all(1) & torch.isfinite(base).all(1)
        change, base = change[finite], base[finite]
        n = len(base)
        if n < FEWEST:
            return None, n, f"only {n} finite prompts; {FEWEST} are needed"
        spread = (base - base.mean(0)).norm(dim=1)
        if not float(spread.max()):
            return None, n, "the base's states do not vary over prompts"
        return norm_ratio(np.asarray(change.norm(dim=1)), np.asarray(spread)), n, None

    return found


def last_of(states: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Return the states `[b, d]` at one position of each sequence, float32 on the CPU."""
    return states[torch.arange(len(last)), last.to(states.device)].to("cpu", torch.float32)


def answer_gain(stack: Stack, seen: Seen, first_tokens: Sequence[int]) -> list[dict[str, Any]]:
    """Return rows of `answer-gain` and of its increment from the layer below, L each.

    At every layer the state at the last prompt token goes through final norm and head (the logit lens); the value is
    the loss of the first answer token in the base minus that in the tuned model, in nats.
    """
    n, layers = len(first_tokens), range(1, stack.layers + 1)
    if n < FEWEST:
        return undefined(layers, ANSWER_READINGS, n, f"only {n} prompts; {FEWEST} are needed")
    labels = torch.tensor(list(first_tokens))
    gains = _lens(stack, "base", seen, labels) - _lens(stack, "tuned", seen, labels)
    finite = np.isfinite(gains).all(1)
    gains, n = gains[finite], int(finite.sum())
    if n < FEWEST:
        return undefined(layers, ANSWER_READINGS, n, f"only {n} prompts have finite losses; {FEWEST} are needed")
    ones = np.ones(n)
    steps = np.diff(gains, axis=1)
    return [row(layer, ANSWER_READINGS[0], ratio(gains[:, layer], ones), n) for layer in layers] + [
        row(layer, ANSWER_READINGS[1], ratio(steps[:, layer - 1], ones), n) for layer in layers
    ]


@torch.no_grad()
def _lens(stack: Stack, side: Side, seen: Seen, labels: torch.Tensor) -> Floats:
    """Return the loss of the first answer token at layers 0..L, `[n, L + 1]`."""
    model = stack.models[side]
    states = seen.own[side].to(stack.device, next(model.parameters()).dtype)
    return np.stack([stack.losses(side, states[:, place], labels).numpy() for place in range(stack.layers + 1)], axis=1)
