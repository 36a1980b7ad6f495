"""CKA of one layer: all models with the same view share one set of products."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity.arrays import FEWEST
from mossa.similarity.features import Groups, centre
from mossa.similarity.hsic import PairSums, hsic, stratified
from mossa.similarity.kernels import centre_gram, gram, gram_products
from mossa.similarity.products import RowProducts, row_products
from mossa.similarity.registry import View
from mossa.similarity.uncertainty import Value, Vector

if TYPE_CHECKING:
    from torch import Tensor


Pair = tuple[str, str]  # the names of a control and of a model
# Prompts of a fixed group: with 4, standard errors are a fifth to a quarter too small, with 8 a tenth.
FEWEST_IN_STRATUM = 10
FEWEST_GROUPS = 10  # where groups are a sample: of 5, the interval covers 62 to 71 %
BALANCED = 0.8  # smallest over largest fixed group; groups that differ more were hardly drawn with fixed sizes


def view_values(
    view: View, here: Mapping[str, Tensor], pairs: Sequence[Pair], groups: Groups, kinds: set[bool]
) -> dict[tuple[Pair, bool], Value]:
    """Return CKA of each pair of a control and a model at one layer, per (pair, debiased or not).

    `here` holds [n, d] for every name in `pairs` and, for a shift, `origin`.
    """
    n = len(groups.labels)
    if view.grouping == "within":
        return _values(view, here, pairs, groups, kinds, groups)
    if view.grouping == "means":
        if len(groups) < FEWEST:
            few = Value(None, reason=f"only {len(groups)} groups have a mean; {FEWEST} are needed")
            return {(pair, kind): few for pair in pairs for kind in kinds}
        means = {name: groups.means(X) for name, X in here.items()}
        return _values(view, means, pairs, Groups.of(None, len(groups)), kinds, None)
    everyone = Groups.of(None, n)
    if view.grouping == "fixed":
        return _values(view, here, pairs, everyone, kinds, fixed_strata(groups))
    found = _values(view, here, pairs, everyone, kinds, None)
    parts = [_without(view, here, pairs, rows, kinds) for rows in groups.rows()]
    return {key: _over_groups(value, [part[key] for part in parts], key[1]) for key, value in found.items()}


def fixed_strata(groups: Groups) -> Groups | None:
    """Return the groups if they can serve as strata for values that keep their means, else None."""
    smallest, largest = groups.sizes.min(), groups.sizes.max()
    return groups if len(groups) > 1 and smallest >= max(FEWEST_IN_STRATUM, BALANCED * largest) else None


def _without(
    view: View, here: Mapping[str, Tensor], pairs: Sequence[Pair], rows: np.ndarray[Any, Any], kinds: set[bool]
) -> dict[tuple[Pair, bool], Value]:
    """Return the values without one group of prompts."""
    n = len(here["control"])
    kept = np.delete(np.arange(n), rows)
    if len(kept) < FEWEST:
        return {(pair, kind): Value(None) for pair in pairs for kind in kinds}
    return _values(view, {name: X[kept] for name, X in here.items()}, pairs, Groups.of(None, len(kept)), kinds, None)


def _over_groups(value: Value, without: Sequence[Value], debiased: bool) -> Value:
    """Return the value with its values without each group in place of those without each prompt.

    Debiasing for independent prompts leaves a bias of the order of 1 / groups. The jackknife's estimate of it
    (Quenouille 1956) moves the interval.
    """
    left_out = np.array([part.value for part in without if part.value is not None])
    g = len(without)
    if value.value is None:
        return value
    if g < FEWEST_GROUPS:
        return Value(value.value, reason=f"no standard error: {g} groups are too few, {FEWEST_GROUPS} are needed")
    if len(left_out) < g:
        return Value(value.value, reason="no standard error: with one group less the value is undefined")
    return Value(value.value, left_out, middle=g * value.value - (g - 1) * left_out.mean() if debiased else None)


def _values(
    view: View,
    here: Mapping[str, Tensor],
    pairs: Sequence[Pair],
    groups: Groups,
    kinds: set[bool],
    strata: Groups | None,
) -> dict[tuple[Pair, bool], Value]:
    """Return the values with the mean of each of `groups` removed, and of all prompts if there is one group."""
    sides: dict[str, Tensor] = {}
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        try:
            sides[name] = _side(view, here[name], here["origin"] if view.shift else None, groups)
        except SimilarityError as undefined:
            reasons[name] = str(undefined)
    found: dict[tuple[Pair, bool], Value] = {}
    present: list[Pair] = []
    for control, name in pairs:
        if control in sides and name in sides:
            present.append((control, name))
            continue
        reason = f"control: {reasons[control]}" if control in reasons else f"{name}: {reasons[name]}"
        found |= {((control, name), kind): Value(None, reason=reason) for kind in kinds}
    if present:
        asked = {name: sides[name] for name in dict.fromkeys(name for pair in present for name in pair)}
        sums = _sums(asked, present, view, groups, strata)
        for kind in kinds:
            own = {name: hsic(sums[name, name], groups, debiased=kind) for name in asked}
            for control, name in present:
                cross = hsic(sums[control, name], groups, debiased=kind)
                value = _ratio(cross, own[control], own[name], view)
                if strata and kind and view.grouping == "fixed" and value.left_out is not None:
                    parts = cross[0], own[control][0], own[name][0]
                    value = replace(value, middle=_stratified(sums, control, name, parts, strata))
                found[(control, name), kind] = replace(value, strata=strata, within=view.grouping == "within")
    return found


def _side(view: View, X: Tensor, origin: Tensor | None, groups: Groups) -> Tensor:
    """Return centred features [n, d] of one side or, for other kernels than the linear one, its Gram matrix [n, n]."""
    features = centre(X, groups, origin, view.zscored)
    return features if view.kernel == "linear" else centre_gram(gram(features, view), groups)


def _sums(
    sides: Mapping[str, Tensor], wanted: Sequence[Pair], view: View, groups: Groups, strata: Groups | None
) -> dict[Pair, PairSums]:
    """Return the sums per prompt of every side with itself, and of the wanted pairs."""
    place = {name: number for number, name in enumerate(sides)}
    features = list(sides.values())
    named = list(dict.fromkeys([*((name, name) for name in sides), *wanted]))
    pairs = [(place[control], place[name]) for control, name in named]
    everyone = _products(features, pairs, view)
    own = everyone if len(groups) == 1 else _own_products(features, pairs, view, groups)
    products, within, norms, crosses = (
        sums.cpu().numpy() for sums in (everyone.products, own.products, own.norms, own.crosses)
    )
    stratum = None
    if strata and len(groups) == 1:
        stratum = _own_products(features, pairs, view, strata).products.cpu().numpy()
    return {
        named[row]: PairSums(
            products[row],
            within[row],
            crosses[p, q],
            crosses[q, p],
            norms[p],
            norms[q],
            None if stratum is None else stratum[row],
        )
        for row, (p, q) in enumerate(pairs)
    }


def _products(sides: Sequence[Tensor], pairs: Sequence[tuple[int, int]], view: View) -> RowProducts:
    return row_products(sides, pairs) if view.kernel == "linear" else gram_products(sides, pairs)


def _own_products(sides: Sequence[Tensor], pairs: Sequence[tuple[int, int]], view: View, groups: Groups) -> RowProducts:
    """Return the sums per prompt over its own group."""
    if view.kernel != "linear":
        return gram_products(sides, pairs, groups)
    import torch

    members = [torch.from_numpy(rows).to(sides[0].device) for rows in groups.rows()]
    return RowProducts.joined([row_products([X[rows] for X in sides], pairs) for rows in members], groups.rows())


def _stratified(
    sums: Mapping[Pair, PairSums], control: str, name: str, values: tuple[float, float, float], strata: Groups
) -> float | None:
    """Return debiased CKA of a control and a model with every stratum at its share, None where it has none."""
    pairs = (control, name), (control, control), (name, name)
    cross, one, other = (v + stratified(sums[pair], strata) for v, pair in zip(values, pairs, strict=True))
    return cross / math.sqrt(one * other) if one > 0 and other > 0 else None


def _ratio(cross: tuple[float, Vector], one: tuple[float, Vector], other: tuple[float, Vector], view: View) -> Value:
    """Return CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) and its leave-one-out values."""
    n = len(cross[1])
    if one[0] <= 0 or other[0] <= 0:
        units = "groups" if view.grouping == "means" else "prompts"
        reason = f"the debiased HSIC of one side with itself is not positive: n = {n} {units} are too few"
        if view.grouping == "within":
            reason += ", or its groups too small (two groups of 2, or one of 4, are the least)"
        return Value(None, reason=reason)
    value = cross[0] / math.sqrt(one[0] * other[0])
    if (one[1] <= 0).any() or (other[1] <= 0).any():
        return Value(value, reason="no standard error: with one prompt or group less the value is undefined")
    return Value(value, cross[1] / np.sqrt(one[1] * other[1]))
