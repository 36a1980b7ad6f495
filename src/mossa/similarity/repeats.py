"""Finds prompts that are in the arrays twice: rows count as independent, and repeated ones are not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SAME = 1e-4  # of how far two rows are apart, typically: what batches of other shapes change in one row is smaller
FEW = 8  # dimensions; below, rows come that close by chance, and only equal ones count
SKETCHED = 64  # dimensions of one layer that find candidates; only those rows are compared in whole


def warn_of_repeats(sides: Mapping[str, Tensor]) -> None:
    """Warn if rows of the arrays [n, L, d] equal another row in every one of them.

    A repeated prompt lifts even debiased CKA and narrows its interval. Arrays whose rows are all alike are not meant:
    they have no CKA, and say so.
    """
    repeated = _count(list(sides.values()))
    n = len(next(iter(sides.values())))
    if 0 < repeated < n - 1:
        warnings.warn(
            f"{repeated} of {n} rows repeat another one in {' and in '.join(sides)}. Similarity is too high and its "
            "interval too narrow with them: keep each prompt once.",
            UserWarning,
            stacklevel=3,
        )


def _count(sides: Sequence[Tensor]) -> int:
    """Return how many rows equal the next one in an order that puts equal rows side by side."""
    last = sides[0][:, -1]
    sketch = last[:, :: max(1, last.shape[1] // SKETCHED)].double().cpu().numpy()
    finite = np.flatnonzero(np.isfinite(sketch).all(1))
    if len(finite) < 2:
        return 0
    random = np.random.default_rng(0)
    weights, mixed = random.standard_normal(sketch.shape[1]), random.permutation(len(sketch))
    with np.errstate(all="ignore"):  # values that overflow here are refused where they matter
        sums = (sketch[finite] - sketch[finite[0]]) @ weights
        order = np.argsort(sums, kind="stable")
        near = np.diff(sums[order]) <= SAME * np.median(np.abs(sums - random.permutation(sums)))
    rows, nexts = finite[order[:-1][near]], finite[order[1:][near]]
    for X in sides:
        for layer in range(X.shape[1]):
            if not len(rows):
                return 0
            here = X[:, layer].double() if X.shape[1] == 1 else X[:, layer].float()
            apart = (here - here[mixed]).norm(dim=1).nanmedian() * (here.shape[1] >= FEW)
            same = ((here[rows] - here[nexts]).norm(dim=1) <= SAME * apart).cpu().numpy()
            rows, nexts = rows[same], nexts[same]
    return len(rows)
