"""Per layer: how alike base and tuned model are, where the update acts, and what else moved."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from mossa.paired.reading import SIDES, Reading
from mossa.place.answer import answer_gain
from mossa.place.change import one_layer_change
from mossa.place.estimates import FEWEST, PlaceValue, norm_ratio, row
from mossa.place.stack import Stack
from mossa.similarity import compare, spectrum

ALIKE = ("cka-linear-debiased", "cka-linear-calibrated")
DIMENSIONS = ("participation_ratio", "effective_rank")
NORM = "norm-ratio"


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
    """Return CKA of base and tuned model with its interval, and calibrated: what is left above permuted prompts."""
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
    """Return how long the tuned model's states are, as a multiple of the base's: a ratio of root mean squares."""
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
