"""All readings of place of one tuned model on one set of prompts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mossa.errors import DataError, choices
from mossa.models.prompts import Encoded
from mossa.place.change import answer_gain, one_layer_change, see
from mossa.place.estimates import COLUMNS, PlaceValue
from mossa.place.graft import graft
from mossa.place.stack import Stack, Variant

READINGS = ("one-layer-change", "answer-gain", "graft", "curves")  # the last is the cheap part of the third
PARTS: tuple[Variant, ...] = ("attention", "feed-forward")
RANDOM: tuple[Variant, ...] = ("random",)


@dataclass(frozen=True, slots=True)
class Located:
    """The rows of all readings (columns `COLUMNS`), and what concerns all layers (see `Grafted`)."""

    table: pd.DataFrame
    gain: PlaceValue | None = None
    sufficient: tuple[int, int] | None = None
    necessary: tuple[int, int] | None = None


def locate_update(
    stack: Stack,
    examples: Sequence[Encoded],
    templates: Sequence[Hashable] | None = None,
    readings: Sequence[str] | None = None,
    *,
    parts: bool = False,
    window: int = 1,
    null: bool = False,
) -> Located:
    """Return every reading in `readings`; None: all that the examples allow, depending on whether they have targets.

    `curves` are those of `graft` without Shapley values and smallest windows: a fifth of its work at 30 layers.

    `templates`: one label per example, for the change within templates. `parts`: also attention and feed-forward
    separately. `window` and `null` are those of `graft`; `null` also gives the one-layer change of random updates.
    Raises `DataError` for an unknown reading, an even window, and readings of the answer without targets. Too few
    examples, or none, give rows with the reason.
    """
    answered = all(len(each.tokens) > each.prompt_length for each in examples)
    wanted = _wanted(readings, answered)
    if window < 1 or window % 2 == 0:
        raise DataError(f"window is {window}; give an odd number of layers, such as 3, so that a layer is its middle.")
    prompts = [example.tokens[: example.prompt_length] for example in examples]
    if prompts:
        stack.check(prompts)
    variants: list[Variant] = ["tuned", *(PARTS if parts else ())]
    rows: list[dict[str, Any]] = []
    if {"one-layer-change", "answer-gain"} & set(wanted):
        compared: list[Variant] = [*variants, *(RANDOM if null else ())] if "one-layer-change" in wanted else []
        seen = see(stack, prompts, compared)
        if "one-layer-change" in wanted:
            rows += one_layer_change(stack, seen, templates, compared)
        if "answer-gain" in wanted:
            rows += answer_gain(stack, seen, [example.tokens[example.prompt_length] for example in examples])
    found = None
    if {"graft", "curves"} & set(wanted):
        short = "graft" not in wanted
        found = graft(stack, examples, window, null=null, curves_only=short)
        rows += found.rows
        for part in variants[1:]:
            rows += graft(stack, examples, window, part, curves_only=short).rows
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Located(table, found.gain, found.sufficient, found.necessary) if found else Located(table)


def _wanted(readings: Sequence[str] | None, answered: bool) -> list[str]:
    readings = [readings] if isinstance(readings, str) else readings  # one alone stands for a list of it
    for reading in readings or ():
        if reading not in READINGS:
            raise DataError(f"there is no reading {reading!r}. {choices(reading, READINGS)}")
    wanted: list[str] = list(READINGS[: 3 if answered else 1] if readings is None else readings)
    if not answered and (answers := [reading for reading in wanted if reading != READINGS[0]]):
        raise DataError(f"{answers[0]} needs an answer to every prompt. Give targets, or leave this reading out.")
    return wanted
