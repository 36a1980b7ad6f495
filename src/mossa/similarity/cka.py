"""CKA, or any other estimator, of two arrays, with the result on their device."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.compare import compare
from mossa.similarity.registry import SHAPE, Estimator, Grouping, View, cka_id, estimator
from mossa.similarity.result import Comparison


def cka(
    Y: arrays.Array,
    Z: arrays.Array,
    kernel: str = "linear",
    debiased: bool = False,
    groups: Sequence[Hashable] | None = None,
    *,
    grouping: Grouping | None = None,
    zscored: bool = False,
    origin: arrays.Array | None = None,
    bandwidth: float = 1.0,
    degree: int = 3,
    ids: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    non_finite: arrays.NonFinite = "error",
    confidence: float = 0.95,
) -> Comparison:
    """Return the centred kernel alignment of Y and Z, [n, d] or [n, L, d], per layer, with its jackknife uncertainty.

    Y is of the model and Z of what it is compared with, here and in all functions.
    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(KᵀL) of centred Gram matrices (the paper,
    section 2; Kornblith et al. 2019), or with `debiased` its unbiased estimate (Song et al. 2012), which is 0 on
    average for unrelated sides if the prompts are independent, and may be negative. `kernel`: `linear`, `rbf` or
    `rbf-demo` (`bandwidth` as a fraction of the median distance), `polynomial` (`degree`) or `distance`.
    `groups`: n labels, such as templates, and `grouping` what they are: `within` (the default) removes each group's
    mean, and the debiasing knows; `fixed` keeps the means and takes the groups as strata; `sampled` leaves out a group
    at a time for the standard error; `means` compares the groups' means alone.
    `zscored`: every dimension at variance 1. `origin`: subtracted from both sides, so that changes are compared.
    `ids`: of the prompts of Y and of Z; any difference is refused. `non_finite`: `error`, or `drop` (in pairs).

    For linear CKA the jackknife is exact, unless z-scored; other kernels hold what they take from all prompts (centre,
    bandwidth, scale) fixed. Raises SimilarityError for arrays that cannot be compared, and for a layer without CKA,
    with the reason; `compare` makes a row of that instead.
    """
    grouping = grouping or ("within" if groups is not None else "fixed")
    view = View(kernel, zscored, grouping, origin is not None, bandwidth, degree)
    name = cka_id(view, debiased)
    name += f" (bandwidth {bandwidth:g})" * (kernel.startswith("rbf") and bandwidth != 1)
    name += f" (degree {degree})" * (kernel == "polynomial" and degree != 3)
    chosen = Estimator(name, "", SHAPE, view=view, debiased=debiased)
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
) -> Comparison:
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
) -> Comparison:
    named = None if ids is None else {"Y": ids[0], "control": ids[1], "origin": ids[1]}
    found = compare(
        {"Y": Y},
        Z,
        [chosen],
        groups=groups,
        origin=origin,
        confidence=confidence,
        non_finite=non_finite,
        ids=named,
    )
    for row in found.similarity:
        if row["value"] is None:
            reason = str(row["reason"]).replace("control:", "Z:")
            raise SimilarityError(
                f"layer {row['layer']} of {len(found.similarity)} (n = {row['n']}, d = {row['d']}) has no {chosen.id}: "
                f"{reason}. Leave this layer out, or use `compare`, which reports it as undefined."
            )
    return found
