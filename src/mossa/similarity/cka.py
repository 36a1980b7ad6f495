"""CKA, or any other estimator, of two arrays, answered where the arrays are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.compare import compare
from mossa.similarity.registry import SHAPE, Estimator, View, estimator


@dataclass(frozen=True, repr=False)
class Similarity:
    """Numbers per layer, [L] (or scalars for [n, d]), float64, NumPy for NumPy and torch on the same device for torch.

    `standard_error`, `low` and `high` are None if the estimator has none, or if a layer has none; `reasons` say why.
    Printed it is a table of layers.
    """

    id: str  # of the estimator
    value: arrays.Array
    standard_error: arrays.Array | None
    low: arrays.Array | None
    high: arrays.Array | None
    n: tuple[int, ...]  # prompts compared, per layer
    non_finite: tuple[int, ...]  # prompts dropped, per layer
    reasons: tuple[str | None, ...]
    confidence: float = 0.95  # of the interval from `low` to `high`

    def __repr__(self) -> str:
        lines = [
            f"{self.id}, {_span(self.n)} prompts",
            f"layer   value  standard error  {self.confidence:.0%} interval",
        ]
        columns = [np.atleast_1d(arrays.as_numpy(self.value))]
        if self.standard_error is not None:  # the interval is there if and only if the standard error is
            columns += [np.atleast_1d(arrays.as_numpy(each)) for each in (self.standard_error, self.low, self.high)]
        for layer, (value, *known) in enumerate(zip(*columns, strict=True), start=1):
            uncertainty = f"{known[0]:16.4f}  [{known[1]:.3f}, {known[2]:.3f}]" if known else f"{'none':>16}  none"
            lines.append(f"{layer:5}{value:8.3f}{uncertainty}")
        if dropped := max(self.non_finite):
            lines.append(f"up to {dropped} prompts per layer are not finite and left out")
        return "\n".join(lines)


def _span(counts: tuple[int, ...]) -> str:
    """Return a number, or the two ends where layers differ."""
    return f"{counts[0]:,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


def cka(
    Y: arrays.Array,
    Z: arrays.Array,
    kernel: str = "linear",
    debiased: bool = False,
    groups: Sequence[Hashable] | None = None,
    *,
    zscored: bool = False,
    origin: arrays.Array | None = None,
    bandwidth: float = 1.0,
    degree: int = 3,
    ids: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    non_finite: arrays.NonFinite = "error",
    confidence: float = 0.95,
) -> Similarity:
    """Return the centred kernel alignment of Y and Z, [n, d] or [n, L, d], per layer, with its jackknife uncertainty.

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(KᵀL) of centred Gram matrices (the paper,
    section 2; Kornblith et al. 2019), or with `debiased` its unbiased estimate (Song et al. 2012), which is 0 on
    average for unrelated sides and may be negative. `kernel`: `linear`, `rbf` (`bandwidth` as a fraction of the median
    distance) or `polynomial` (`degree`). `groups`, n labels: each group's mean is removed, and the debiasing knows.
    `zscored`: every dimension at variance 1. `origin`: subtracted from both sides, so that changes are compared.
    `ids`: of the prompts of Y and of Z; any difference is refused. `non_finite`: `error`, or `drop` (in pairs).

    For linear CKA the jackknife is exact, unless z-scored; other kernels hold what they take from all prompts (centre,
    bandwidth, scale) fixed. Raises SimilarityError for arrays that cannot be compared, and for a layer without CKA,
    with the reason; `compare` makes a row of that instead.
    """
    view = View(kernel, zscored, groups is not None, origin is not None, bandwidth, degree)
    name = f"cka-{kernel}" + "-zscored" * zscored + "-within" * view.within + "-debiased" * debiased
    name += f" (bandwidth {bandwidth:g})" * (kernel == "rbf" and bandwidth != 1)
    name += f" (degree {degree})" * (kernel == "polynomial" and degree != 3)
    chosen = Estimator("shift-" * view.shift + name, "", SHAPE, view=view, debiased=debiased)
    return _per_layer(Y, Z, chosen, groups, origin, ids, non_finite, confidence)


def similarity(
    Y: arrays.Array,
    Z: arrays.Array,
    id: str,
    *,
    groups: Sequence[Hashable] | None = None,
    origin: arrays.Array | None = None,
    ids: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    non_finite: arrays.NonFinite = "error",
    confidence: float = 0.95,
) -> Similarity:
    """Return any registered estimator of Y and Z, [n, d] or [n, L, d], per layer; arguments and errors as in `cka`."""
    return _per_layer(Y, Z, estimator(id), groups, origin, ids, non_finite, confidence)


def _per_layer(
    Y: arrays.Array,
    Z: arrays.Array,
    chosen: Estimator,
    groups: Sequence[Hashable] | None,
    origin: arrays.Array | None,
    ids: tuple[Sequence[Hashable], Sequence[Hashable]] | None,
    non_finite: arrays.NonFinite,
    confidence: float,
) -> Similarity:
    named = None if ids is None else {"Y": ids[0], "control": ids[1], "origin": ids[1]}
    rows = compare(
        Z,
        {"Y": Y},
        [chosen],
        groups=groups,
        origin=origin,
        confidence=confidence,
        non_finite=non_finite,
        ids=named,
    ).similarity
    for row in rows:
        if row["value"] is None:
            reason = str(row["reason"]).replace("control:", "Z:")
            raise SimilarityError(
                f"layer {row['layer']} of {len(rows)} (n = {row['n']}, d = {row['d']}) has no {chosen.id}: {reason}. "
                "Leave this layer out, or use `compare`, which reports it as undefined."
            )

    def column(name: str) -> arrays.Array | None:
        values = [row[name] for row in rows]
        if None in values:
            return None
        return arrays.like(Y, np.array(values if np.ndim(Y) == 3 else values[0], dtype=np.float64))

    return Similarity(
        chosen.id,
        column("value"),
        column("standard_error"),
        column("low"),
        column("high"),
        tuple(row["n"] for row in rows),
        tuple(row["non_finite"] for row in rows),
        tuple(row["reason"] for row in rows),
        confidence,
    )
