"""CKA of one layer: all models that look at their representations in the same way share one set of products."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mossa.similarity.features import Groups, centre, zscore
from mossa.similarity.hsic import PairSums, Vector, hsic
from mossa.similarity.kernels import kernel_products
from mossa.similarity.products import RowProducts, row_products

if TYPE_CHECKING:
    from torch import Tensor

Found = tuple[float | None, Vector | None, str | None]  # value, leave-one-out values, reason


@dataclass(frozen=True)
class View:
    """How representations are looked at before they are compared."""

    kernel: str = "linear"
    zscored: bool = False
    within: bool = False
    shift: bool = False


def view_values(
    view: View, here: Mapping[str, Tensor], names: Sequence[str], groups: Groups, debiased: Sequence[bool]
) -> dict[tuple[str, bool], Found]:
    """Return CKA of the control with each named model at one layer, per (name, debiased).

    `here` holds [n, d] for `control`, each of `names` and, for a shift, `origin`.
    """
    n = int(here["control"].shape[0])
    groups = groups if view.within else Groups.of(None, n)
    reasons: dict[str, str] = {}
    features: dict[str, Tensor] = {}
    for name in ("control", *names):
        centred, reason = _features(view, here, name, groups)
        if centred is None:
            reasons[name] = f"{name}: {reason}"
        else:
            features[name] = centred
    found: dict[tuple[str, bool], Found] = {}
    present = [name for name in names if name in features]
    if "control" in features and present:
        sums = _sums([features[name] for name in ("control", *present)], view, groups)
        for kind in set(debiased):
            own = [hsic(sums[i, i], groups, debiased=kind) for i in range(len(present) + 1)]
            for i, name in enumerate(present, 1):
                found[name, kind] = _ratio(hsic(sums[0, i], groups, debiased=kind), own[0], own[i], n)
    for name in names:
        for kind in debiased:
            if (name, kind) not in found:
                found[name, kind] = (None, None, reasons.get("control") or reasons[name])
    return found


def _features(view: View, here: Mapping[str, Tensor], name: str, groups: Groups) -> tuple[Tensor | None, str | None]:
    X = here[name]
    if view.shift:
        centred, reason = centre(X, groups, origin=here["origin"])
    else:
        centred, reason = centre(X, groups)
    if centred is not None and view.zscored:
        centred = zscore(centred)
    return centred, reason


def _sums(features: Sequence[Tensor], view: View, groups: Groups) -> dict[tuple[int, int], PairSums]:
    """Return the sums per prompt of the control (0) with itself and each model, and of each model with itself."""
    import torch

    models = range(len(features))
    pairs = [(i, i) for i in models] + [(0, i) for i in models if i]
    if view.kernel != "linear":
        everyone, own = kernel_products(features, pairs, view.kernel, groups)
    else:
        everyone = row_products(features, pairs)
        own = everyone
        if len(groups) > 1:
            parts = [
                row_products([X[torch.from_numpy(rows).to(X.device)] for X in features], pairs)
                for rows in groups.rows()
            ]
            own = RowProducts.joined(parts, groups.rows())
    products, within, norms, crosses = (
        sums.cpu().numpy() for sums in (everyone.products, own.products, own.norms, own.crosses)
    )
    return {
        (p, q): PairSums(products[row], within[row], crosses[p, q], crosses[q, p], norms[p], norms[q])
        for row, (p, q) in enumerate(pairs)
    }


def _ratio(cross: tuple[float, Vector], one: tuple[float, Vector], other: tuple[float, Vector], n: int) -> Found:
    """Return CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) and its leave-one-out values."""
    if one[0] <= 0 or other[0] <= 0:
        return None, None, f"the debiased HSIC of one side with itself is not positive: too few prompts (n = {n})"
    value = cross[0] / math.sqrt(one[0] * other[0])
    if (one[1] <= 0).any() or (other[1] <= 0).any():
        return value, None, "no standard error: leaving one prompt out leaves it undefined"
    return value, cross[1] / np.sqrt(one[1] * other[1]), None
