"""What both models make of the examples of a task, in one pass: answers, states, and readings per layer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from mossa.models.prompts import Encoded
from mossa.place.change import Seen, Traces, answer_gain, last_of, one_layer_change, see
from mossa.place.estimates import FEWEST, PlaceValue, norm_ratio, row
from mossa.place.stack import Side, Stack
from mossa.similarity import compare, spectrum

SIDES: dict[Side, str] = {"base": "before", "tuned": "after"}

ALIKE = ("cka-linear-debiased", "cka-linear-calibrated")
DIMENSIONS = ("participation_ratio", "effective_rank")
NORM = "norm-ratio"


@dataclass(frozen=True)
class Reading:
    """What base and tuned model make of n examples.

    `answers`: one row per example with `example` (its place), `tokens` of its target, and of both models `loss_before`,
    `loss_after` (nats, summed over the target) and `exact_before`, `exact_after` (every target token is the argmax).
    `seen`: states between the blocks, and of the base's blocks on the tuned model's input. `normed`: by model the
    states after the final norm, `[n, d]`.
    """

    answers: pd.DataFrame
    seen: Seen
    normed: dict[Side, torch.Tensor]

    def states(self, side: Side) -> torch.Tensor:
        """Return `[n, L, d]`, as `represent_tokens` does: layer L is after the final norm."""
        return torch.cat([self.seen.own[side][:, 1:-1], self.normed[side].unsqueeze(1)], dim=1)


@torch.no_grad()
def read(stack: Stack, examples: Sequence[Encoded]) -> Reading:
    """Run both models over prompts and targets once, and keep what all readings need."""
    n = len(examples)
    columns: dict[str, Any] = {
        "example": [each.index for each in examples],
        "tokens": np.array([len(each.tokens) - each.prompt_length for each in examples]),
    }
    for said in SIDES.values():
        columns |= {f"loss_{said}": np.zeros(n), f"exact_{said}": np.zeros(n, dtype=bool)}
    normed: dict[Side, torch.Tensor] = {}

    def score(group: list[int], traces: Traces) -> None:
        batch = [examples[index] for index in group]
        counts = [int(columns["tokens"][index]) for index in group]
        rows = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(counts))
        places = torch.tensor([p - 1 for e in batch for p in range(e.prompt_length, len(e.tokens))])
        labels = torch.tensor([token for e in batch for token in e.tokens[e.prompt_length :]])
        last = torch.tensor([each.prompt_length - 1 for each in batch])
        for side, trace in traces.items():
            at = trace.states[-1][rows.to(trace.final.device), places.to(trace.final.device)]
            losses, right = stack.score(side, at, labels)
            columns[f"loss_{SIDES[side]}"][group] = [float(part.sum()) for part in losses.split(counts)]
            columns[f"exact_{SIDES[side]}"][group] = [bool(part.all()) for part in right.split(counts)]
            final = last_of(trace.final, last)
            normed.setdefault(side, torch.zeros(n, final.shape[1]))[group] = final

    sequences, lengths = [each.tokens for each in examples], [each.prompt_length for each in examples]
    seen = see(stack, sequences, inputs=("tuned",), lengths=lengths, on_batch=score)
    return Reading(pd.DataFrame(columns), seen, normed)


def layer_rows(
    stack: Stack, reading: Reading, first_tokens: Sequence[int], templates: Sequence[Hashable] | None
) -> list[dict[str, Any]]:
    """Return rows of every reading at every layer 1..L, as the readings of place have them."""
    return [
        *_alike(reading, templates),
        *one_layer_change(stack, reading.seen, templates, inputs=("tuned",)),
        *answer_gain(stack, reading.seen, first_tokens),
        *_dimensions(reading),
        *_norms(reading),
    ]


def _alike(reading: Reading, templates: Sequence[Hashable] | None) -> list[dict[str, Any]]:
    """Return CKA of base and tuned model with its interval, and the calibrated one: what exceeds permuted prompts."""
    base, tuned = reading.states("base"), reading.states("tuned")
    if len(base) < FEWEST:
        return _few(reading, ALIKE)
    found = compare({"tuned": tuned}, base, ALIKE, groups=templates, non_finite="drop").similarity
    ends = ("value", "standard_error", "low", "high")
    return [
        row(
            each["layer"],
            each["estimator"],
            None if each["value"] is None else PlaceValue(*(each[end] for end in ends)),
            each["n"],
            each["reason"],
        )
        for each in found
    ]


def _dimensions(reading: Reading) -> list[dict[str, Any]]:
    """Return the soft dimensionalities of both models, which have no interval."""
    names = [f"{kind.replace('_', '-')}, {said}" for kind in DIMENSIONS for said in SIDES.values()]
    if len(reading.answers) < FEWEST:
        return _few(reading, names)
    rows: list[dict[str, Any]] = []
    for side, said in SIDES.items():
        for layer in spectrum(reading.states(side), non_finite="drop"):
            for kind in DIMENSIONS:
                value = getattr(layer, kind)
                found = None if value is None else PlaceValue(value, None, None, None)
                rows.append(row(layer.layer, f"{kind.replace('_', '-')}, {said}", found, layer.n, layer.reason))
    return rows


def _norms(reading: Reading) -> list[dict[str, Any]]:
    """Return the length of the tuned model's states relative to the base's: a ratio of root mean squares."""
    norms = {side: reading.states(side).double().norm(dim=2).numpy() for side in SIDES}
    rows: list[dict[str, Any]] = []
    for place in range(norms["base"].shape[1]):
        pair = np.stack([norms["tuned"][:, place], norms["base"][:, place]])
        tuned, base = pair[:, np.isfinite(pair).all(0)]
        few = len(base) < FEWEST
        found = None if few else norm_ratio(tuned, base)
        reason = f"only {len(base)} finite prompts; {FEWEST} are needed" if few else None
        rows.append(row(place + 1, NORM, found, len(base), reason))
    return rows


def _few(reading: Reading, names: Sequence[str]) -> list[dict[str, Any]]:
    n, layers = len(reading.answers), reading.states("base").shape[1]
    reason = f"only {n} prompts; {FEWEST} are needed"
    return [row(layer, name, None, n, reason) for name in names for layer in range(1, layers + 1)]
