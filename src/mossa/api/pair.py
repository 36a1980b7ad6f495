"""Compares one model with another that serves as its control, and with their base, without a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from mossa.errors import DataError, noting
from mossa.models.loader import ModelLoader, kind_of
from mossa.models.prompts import Encoded
from mossa.representations import check_alone, represent_tokens
from mossa.similarity import compare
from mossa.similarity.registry import estimator
from mossa.study.schema import BASE, Base, Kind, Prompt
from mossa.tasks.split import folded
from mossa.tasks.task import Example

EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """What comparing two models gave: the rows, and how many prompts were used, repeated, skipped and shortened.

    `table`: one row per (layer, estimator) with `base` and `experimental` (each against the control), `difference`
    (experimental minus base), their standard errors and 95 % intervals, n, d, non_finite, reason.
    """

    table: pd.DataFrame
    prompts: int
    repeated: int
    skipped: int
    shortened: int

    @property
    def counted(self) -> str:
        """Return how many prompts were used, and what became of the others."""
        return (
            f"{self.prompts} prompts, {self.repeated} repeated and left out, {self.skipped} skipped, "
            f"{self.shortened} shortened"
        )

    def __repr__(self) -> str:
        shown = ["layer", "estimator", "base", "experimental", "difference", "difference_low", "difference_high"]
        table = self.table[shown].to_string(index=False, float_format="{:.3f}".format)
        return f"{table}\n{self.counted}; more columns in table"


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
    loader = ModelLoader(base, device)
    fitting = loader.format(prompt).encode(prompts, "--prompts", with_target=False)
    encoded = _each_once(fitting, prompts)
    if len(encoded) < 4:
        raise DataError(
            f"--prompts: {len(encoded)} of {len(prompts)} prompts fit the model and are different; a comparison "
            "needs at least 4. Give more, or let them be shortened with --too-long shorten-start."
        )
    tokens = [example.tokens for example in encoded]
    arrays: dict[str, torch.Tensor] = {}
    with noting(say) if say else nullcontext():
        for name, (kind, source) in sources.items():
            if say:
                say(f"{name}: {kind} {source}")
            model = loader.take(kind, source)
            arrays[name] = represent_tokens(model, tokens)
            check_alone(model, tokens, arrays[name])
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
    rows = _side_by_side(found.similarity, found.difference)
    shortened = sum(example.shortened for example in encoded)
    repeated, skipped = len(fitting) - len(encoded), len(prompts) - len(fitting)
    return Pair(rows, len(encoded), repeated, skipped, shortened)


def _each_once(encoded: Sequence[Encoded], prompts: Sequence[Example]) -> list[Encoded]:
    """Return the first of the prompts that are one for the splits of a study too, or became the same tokens."""
    kept: dict[tuple[int, ...], Encoded] = {}
    seen: set[str] = set()
    for example in encoded:
        if folded(prompts[example.index]) not in seen:
            kept.setdefault(tuple(example.tokens), example)
        seen.add(folded(prompts[example.index]))
    return list(kept.values())


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
