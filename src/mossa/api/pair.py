"""Compares one model with another that serves as its control, and with their base, without a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from mossa.errors import DataError
from mossa.models.shelf import Shelf, kind_of
from mossa.representations import represent_tokens
from mossa.similarity import compare
from mossa.similarity.registry import estimator
from mossa.study.schema import BASE, Base, Kind, Prompt
from mossa.tasks.task import Example

EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """What comparing two models gave: the rows, and how many prompts were used, left out and shortened.

    `rows`: one per (layer, estimator) with `base` and `experimental` (each against the control), `difference`
    (experimental minus base), their standard errors and 95 % intervals, n, d, non_finite, reason.
    """

    rows: pd.DataFrame
    prompts: int
    skipped: int
    shortened: int

    def __repr__(self) -> str:
        shown = ["layer", "estimator", "base", "experimental", "difference", "difference_low", "difference_high"]
        counted = f"{self.prompts} prompts, {self.skipped} skipped, {self.shortened} shortened; more columns in rows"
        return f"{self.rows[shown].to_string(index=False, float_format='{:.3f}'.format)}\n{counted}"


def compare_pair(
    base: Base,
    experimental: str,
    control: str,
    prompts: Sequence[Example],
    prompt: Prompt,
    estimators: Sequence[str],
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
) -> Pair:
    """Return how close `experimental` and the base are to `control` at every layer, on these prompts.

    `experimental` and `control` are each an adapter of the base or a whole checkpoint: folder or hub id. Raises
    `ModelError` if one cannot be used, `SimilarityError` for an unknown estimator and `DataError` for too few prompts.
    """
    for identifier in estimators:
        estimator(identifier)
    sources: dict[str, tuple[Kind, str]] = {
        BASE: ("base", base.model),
        EXPERIMENTAL: (kind_of(experimental, "--experimental"), experimental),
        "control": (kind_of(control, "--control"), control),
    }
    shelf = Shelf(base, device)
    encoded = shelf.format(prompt).encode(prompts, "--prompts", with_target=False)
    if len(encoded) < 4:
        raise DataError(
            f"--prompts: {len(encoded)} of {len(prompts)} prompts fit the model; a comparison needs at least 4. Give "
            "more, or let them be shortened with --too-long shorten-start."
        )
    tokens = [example.tokens for example in encoded]
    arrays: dict[str, torch.Tensor] = {}
    for name, (kind, source) in sources.items():
        if say:
            say(f"{name}: {kind} {source}")
        arrays[name] = represent_tokens(shelf.take(kind, source), tokens)
    templates = [prompts[example.index].template for example in encoded]
    found = compare(
        {BASE: arrays[BASE], EXPERIMENTAL: arrays[EXPERIMENTAL]},
        arrays["control"],
        list(dict.fromkeys(estimators)),
        groups=None if None in templates else templates,
        origin=arrays[BASE],
        baseline=BASE,
        non_finite="drop",
    )
    shortened = sum(example.shortened for example in encoded)
    return Pair(_side_by_side(found.similarity, found.difference), len(encoded), len(prompts) - len(encoded), shortened)


def _side_by_side(similarity: list[dict[str, Any]], difference: list[dict[str, Any]]) -> pd.DataFrame:
    keys = ["layer", "estimator"]
    table = pd.DataFrame(similarity)
    counts = table[table["model"] == EXPERIMENTAL][[*keys, "n", "d", "non_finite", "reason"]]
    parts = [(table[table["model"] == model], name, "value") for model, name in ((BASE, "base"), (EXPERIMENTAL,) * 2)]
    parts.append((pd.DataFrame(difference), "difference", "difference"))
    joined = counts[keys]
    for part, name, value in parts:
        names = {value: name, **{old: f"{name}_{old}" for old in ("standard_error", "low", "high")}}
        joined = joined.merge(part[[*keys, *names]].rename(columns=names), on=keys, how="left")
    return joined.merge(counts, on=keys)
