"""Compare one control with several models, layer by layer, and the models with each other, in one pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups
from mossa.similarity.registry import Estimator, estimator
from mossa.similarity.uncertainty import Estimate, Vector, interval
from mossa.similarity.views import View, view_values

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """Tidy rows: `similarity`, one per (model, layer, estimator); `difference`, one model minus the baseline."""

    similarity: list[dict[str, Any]] = field(default_factory=lambda: [])
    difference: list[dict[str, Any]] = field(default_factory=lambda: [])


@dataclass(frozen=True)
class Value:
    """A similarity at one layer and, where they exist, its n leave-one-out values."""

    value: float | None
    left_out: Vector | None = None
    reason: str | None = None


def compare(
    control: arrays.Array,
    models: Mapping[str, arrays.Array],
    estimators: Sequence[str] = ("cka-linear", "cka-linear-debiased"),
    *,
    groups: Sequence[Hashable] | None = None,
    origin: arrays.Array | None = None,
    baseline: str = "pretrained",
    confidence: float = 0.95,
    non_finite: arrays.NonFinite = "error",
) -> Comparison:
    """Compare a control with each of m models on the same prompts, at every layer, by every estimator.

    `control`, `models` and `origin`: [n, L, d] or [n, d], row i of each the same prompt; d may differ. `groups`: n
    template labels, used by the `-within` estimators. `origin` is what the `shift-` estimators subtract from both
    sides (the base model on the same prompts). `baseline` names the model that the others are compared with in
    `difference`, paired over prompts. With `non_finite="drop"` a prompt that is not finite in any of these arrays is
    left out of all of them at that layer, so that all numbers of a layer are about the same prompts, and counted.

    Similarity rows: model, layer (1..L), estimator, value, standard_error, low, high, n, d, non_finite, reason.
    Difference rows: model, layer, estimator, difference, standard_error, low, high, n, d, reason.
    Raises SimilarityError for arrays that cannot be compared and for unknown estimators; what is undefined (such as a
    layer that does not vary) is a row with the reason.
    """
    if not 0 < confidence < 1:
        raise SimilarityError(f"confidence is {confidence}; give a probability between 0 and 1, such as 0.95.")
    wanted = [estimator(id) for id in dict.fromkeys(estimators)]
    sides = {"control": arrays.as_layers(control, "control")}
    others = {name: arrays.as_layers(array, name) for name, array in models.items()}
    if not others:
        raise SimilarityError("`models` is empty; give at least one model to compare with the control.")
    arrays.check_rows(sides["control"], others)
    if any(e.shift for e in wanted):
        if origin is None:
            raise SimilarityError("shift- estimators need `origin`, the base model's representations of these prompts.")
        base = {"origin": arrays.as_layers(origin, "origin")}
        arrays.check_rows(sides["control"], base)
    else:
        base = {}
    if groups is None and any(e.within for e in wanted):
        raise SimilarityError("-within estimators need `groups`, one template label per prompt.")

    n, layers, _ = sides["control"].shape
    whole = Groups.of(groups, n)
    result = Comparison()
    for layer in range(layers):
        here = {
            name: array[:, layer] for name, array in [("control", sides["control"]), *others.items(), *base.items()]
        }
        _compare_layer(result, here, list(others), wanted, whole, layer + 1, baseline, confidence, non_finite)
    return result


def _compare_layer(
    result: Comparison,
    here: dict[str, Tensor],
    names: list[str],
    wanted: Sequence[Estimator],
    groups: Groups,
    layer: int,
    baseline: str,
    confidence: float,
    non_finite: arrays.NonFinite,
) -> None:
    """Add the rows of one layer."""
    rows = arrays.finite_rows(list(here.values()), list(here), layer, non_finite)
    dropped = 0
    if rows is not None:
        dropped = int((~rows).sum())
        here = {name: X[np.flatnonzero(rows)] for name, X in here.items()}
        groups = groups.keep(rows)
    n = int(here["control"].shape[0])
    values = _layer_values(here, names, wanted, groups)
    for e in wanted:
        used = groups if e.within else Groups.of(None, n)
        for name in names:
            found = values[e.id][name]
            common = {"model": name, "layer": layer, "estimator": e.id}
            size = {"n": n, "d": int(here[name].shape[1])}
            row = _estimate(found, used, confidence)
            result.similarity.append(
                common
                | {"value": row.value, "standard_error": row.standard_error, "low": row.low, "high": row.high}
                | size
                | {"non_finite": dropped, "reason": row.reason}
            )
            if baseline in names and name != baseline:
                change = _estimate(_minus(found, values[e.id][baseline], baseline), used, confidence)
                result.difference.append(
                    common
                    | {"difference": change.value, "standard_error": change.standard_error}
                    | {"low": change.low, "high": change.high}
                    | size
                    | {"reason": change.reason}
                )


def _layer_values(
    here: dict[str, Tensor], names: list[str], wanted: Sequence[Estimator], groups: Groups
) -> dict[str, dict[str, Value]]:
    """Return, per estimator id and model, the value at one layer."""
    n = int(here["control"].shape[0])
    if n < arrays.SMALLEST:
        reason = f"only {n} finite prompts; {arrays.SMALLEST} are needed"
        return {e.id: {name: Value(None, reason=reason) for name in names} for e in wanted}
    values: dict[str, dict[str, Value]] = {}
    views: dict[View, list[Estimator]] = {}
    for e in wanted:
        if e.measure is None:
            views.setdefault(View(e.kernel, e.zscored, e.within, e.shift), []).append(e)
        else:
            values[e.id] = {name: _measured(e, here[name], here["control"]) for name in names}
    for view, members in views.items():
        found = view_values(view, here, names, groups, [e.debiased for e in members])
        for e in members:
            values[e.id] = {name: Value(*found[name, e.debiased]) for name in names}
    return values


def _measured(e: Estimator, Y: Tensor, Z: Tensor) -> Value:
    """Return the value of an estimator that is a function of two matrices."""
    assert e.measure is not None
    try:
        return Value(float(e.measure(Y, Z)), reason="no standard error: not derived for this estimator")
    except SimilarityError as undefined:
        return Value(None, reason=str(undefined))


def _minus(one: Value, other: Value, baseline: str) -> Value:
    """Return the paired difference of two values over the same prompts."""
    if one.value is None:
        return Value(None, reason=one.reason)
    if other.value is None:
        return Value(None, reason=f"{baseline}: {other.reason}")
    if one.left_out is None or other.left_out is None:
        return Value(one.value - other.value, reason=one.reason or other.reason)
    return Value(one.value - other.value, one.left_out - other.left_out)


def _estimate(found: Value, groups: Groups, confidence: float) -> Estimate:
    if found.value is None:
        return Estimate(None, reason=found.reason)
    if found.left_out is None:
        return Estimate(found.value, reason=found.reason)
    return interval(found.value, found.left_out, groups, confidence)
