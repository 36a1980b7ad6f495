"""Compare one control with several models, layer by layer, and the models with each other, in one pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.arrays import warn_of_repeats
from mossa.similarity.features import Groups
from mossa.similarity.registry import Estimator, View, estimator
from mossa.similarity.result import ASSUMED, Comparison
from mossa.similarity.threads import side_by_side
from mossa.similarity.uncertainty import Estimate, Value, estimate, minus
from mossa.similarity.views import Pair, fixed_strata, view_values

if TYPE_CHECKING:
    from torch import Tensor, device, dtype


def compare(
    models: Mapping[str, arrays.Array],
    control: arrays.Array,
    estimators: Sequence[str | Estimator] | str | Estimator = ("cka-linear", "cka-linear-debiased"),
    *,
    groups: Sequence[Hashable] | None = None,
    origin: arrays.Array | None = None,
    baseline: str = "pretrained",
    confidence: float = 0.95,
    non_finite: arrays.NonFinite = "error",
    ids: Mapping[str, Sequence[Hashable]] | None = None,
) -> Comparison:
    """Compare each of m models with a control on the same prompts, at every layer, by every estimator.

    `models`, `control`, `origin`: [n, L, d] or [n, d], row i of each the same prompt; d may differ, except for a
    shift. `groups`: n labels, such as templates, needed by the `-within`, `-sampled` and `-means` estimators; for the
    others they are strata if there are 4 prompts or more of each and about as many of each. `origin`: what the
    `shift-` estimators subtract from both sides, the base model on the same prompts. `baseline`: the model that the
    others are compared with in `difference`, paired over prompts. `ids`: the prompts' ids under `control`, `origin` and
    each model's name; any difference is refused. With `non_finite="drop"` a prompt that is not finite in any of these
    arrays is left out of all of them at that layer, so that all numbers of a layer are about the same prompts, and
    counted.

    Similarity rows: model, layer (1..L), estimator, value, standard_error, low, high, n, d, non_finite, reason.
    Difference rows: model, layer, estimator, difference, standard_error, low, high, n, d, reason. What is undefined,
    such as a layer that does not vary, is a row with the reason. Raises SimilarityError for arrays that cannot be
    compared and for unknown estimators.
    """
    if not 0 < confidence < 1:
        raise SimilarityError(f"confidence is {confidence}; give a probability between 0 and 1, such as 0.95.")
    wanted = _wanted(estimators)
    sides = _sides(models, control, origin, wanted)
    n = len(sides["control"])
    lacking = [e.id for e in wanted if groups is None and e.view and e.view.grouping != "fixed"]
    if lacking:
        raise SimilarityError(f"Some need `groups`, one label (such as its template) per prompt: {', '.join(lacking)}.")
    if ids is not None:
        for name in sides:
            if name not in ids:
                raise SimilarityError(f"`ids` lacks {name!r}; give the ids of the prompts of every array.")
            arrays.check_ids(ids["control"], ids[name], n, name)
    questions = [("control", tuple(models))]
    return _answer(
        sides, questions, wanted, groups, baseline, confidence, non_finite, first=next(iter(models.values()))
    )[0]


def _wanted(estimators: Sequence[str | Estimator] | str | Estimator) -> list[Estimator]:
    """Return each estimator once, in the order asked for; one alone may stand for a list of it."""
    if isinstance(estimators, str | Estimator):
        estimators = [estimators]
    return list({e.id: e for e in (estimator(e) if isinstance(e, str) else e for e in estimators)}.values())


Question = tuple[str, tuple[str, ...]]  # the control, and the models that are compared with it


def compare_several(
    given: Mapping[str, arrays.Array],
    questions: Sequence[Question],
    estimators: Sequence[str | Estimator],
    *,
    origin: str,
    groups: Sequence[Hashable] | None = None,
    baseline: str = "pretrained",
    confidence: float = 0.95,
    non_finite: arrays.NonFinite = "error",
    device: device | None = None,
    dtype: dtype | None = None,
) -> list[Comparison]:
    """Return what `compare` would for each question: a control and models, all of them names in `given`.

    `origin` is the name of what shifts are taken from. What several questions need of an array (its centred features,
    its Gram matrix, its HSIC with itself) is computed once, layer by layer, on `device` (default: where arrays are),
    from its numbers in `dtype` (default: as they are).
    """
    wanted = _wanted(estimators)
    sides = arrays.as_sides(given)
    if any(e.view and e.view.shift for e in wanted):
        sides["origin"] = sides[origin]
    for name, array in sides.items():
        arrays.check_alike(sides[questions[0][0]], array, name)
    return _answer(sides, questions, wanted, groups, baseline, confidence, non_finite, device, dtype)


def _answer(
    sides: Mapping[str, Tensor],
    questions: Sequence[Question],
    wanted: Sequence[Estimator],
    groups: Sequence[Hashable] | None,
    baseline: str,
    confidence: float,
    non_finite: arrays.NonFinite,
    device: device | None = None,
    dtype: dtype | None = None,
    first: arrays.Array = None,
) -> list[Comparison]:
    """Return the answer to each question about arrays [n, L, d] that were checked."""
    some = next(iter(sides.values()))
    n, layers, _ = some.shape
    everyone = Groups.of(groups, n)
    origin = ("origin",) if "origin" in sides else ()
    for control, models in questions:
        warn_of_repeats({"control": sides[control], **{name: sides[name] for name in (*models, *origin)}})

    def one(layer: int) -> list[Comparison]:
        once = {id(array): array for array in sides.values()}  # the base has two names here
        moved = {key: array[:, layer - 1].to(device=device, dtype=dtype) for key, array in once.items()}
        here = {name: moved[id(array)] for name, array in sides.items()}
        answers: dict[int, Comparison] = {}
        for rows, numbers in _by_finite_rows(here, questions, origin, layer, non_finite):
            kept, seen = everyone, here
            if rows is not None:
                asked = {name for number in numbers for name in (questions[number][0], *questions[number][1], *origin)}
                seen = {name: here[name][np.flatnonzero(rows)] for name in asked}
                kept = everyone.keep(rows)
            values = _values(seen, [questions[number] for number in numbers], wanted, kept)
            common = {"layer": layer, "n": len(kept.labels), "non_finite": n - len(kept.labels)}
            for number in numbers:
                answers[number] = _rows(values, questions[number], seen, common, baseline, confidence)
        return [answers[number] for number in range(len(questions))]

    found = side_by_side(one, range(1, layers + 1), device or some.device)
    return [
        Comparison(
            [r for part in found for r in part[number].similarity],
            [r for part in found for r in part[number].difference],
            confidence,
            _assumed(wanted[0], everyone),
            first,
        )
        for number in range(len(questions))
    ]


def _by_finite_rows(
    here: Mapping[str, Tensor],
    questions: Sequence[Question],
    origin: tuple[str, ...],
    layer: int,
    non_finite: arrays.NonFinite,
) -> list[tuple[np.ndarray[Any, Any] | None, list[int]]]:
    """Return which rows are finite in all arrays of a question (None: all), and the questions of which that is so."""
    if arrays.finite_rows(here, layer, non_finite) is None:
        return [(None, list(range(len(questions))))]
    found: dict[bytes, tuple[np.ndarray[Any, Any] | None, list[int]]] = {}
    for number, (control, models) in enumerate(questions):
        asked = {name: here[name] for name in dict.fromkeys([control, *models, *origin])}
        rows = arrays.finite_rows(asked, layer, non_finite)
        found.setdefault(b"" if rows is None else rows.tobytes(), (rows, []))[1].append(number)
    return list(found.values())


def _assumed(chosen: Estimator, groups: Groups) -> str:
    """Return what the intervals of this estimator assume."""
    grouping = chosen.view.grouping if chosen.view else "fixed"
    return ASSUMED[None if grouping == "fixed" and fixed_strata(groups) is None else grouping]


def _sides(
    models: Mapping[str, arrays.Array], control: arrays.Array, origin: arrays.Array | None, wanted: list[Estimator]
) -> dict[str, Tensor]:
    """Return all arrays as tensors [n, L, d] by name, checked against the control."""
    if not isinstance(models, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SimilarityError("`models` maps names to arrays; give them first and the control second, as in `cka`.")
    if not models:
        raise SimilarityError("`models` is empty; give at least one model to compare with the control.")
    if not wanted:
        raise SimilarityError("`estimators` is empty; name at least one, such as cka-linear-debiased.")
    reserved = {"control", "origin"} & set(models)
    if reserved:
        raise SimilarityError(f"A model is called {min(reserved)!r}, which has a meaning here; give it another name.")
    shift = any(e.view and e.view.shift for e in wanted)
    if shift and origin is None:
        raise SimilarityError("shift- estimators need `origin`, the base model's representations of these prompts.")
    sides = arrays.as_sides({"control": control, **models} | ({"origin": origin} if shift else {}))
    for name, array in sides.items():
        arrays.check_alike(sides["control"], array, name)
        if shift and array.shape[2] != sides["origin"].shape[2]:
            raise SimilarityError(
                f"{name} has d = {array.shape[2]} and origin {sides['origin'].shape[2]}; "
                "changes from the origin need the same width, so leave out the shift- estimators."
            )
    return sides


def _values(
    here: Mapping[str, Tensor], questions: Sequence[Question], wanted: Sequence[Estimator], groups: Groups
) -> dict[tuple[str, Pair], Value]:
    """Return the values of one layer per (estimator id, (control, model))."""
    n = len(groups.labels)
    pairs = list(dict.fromkeys((control, name) for control, models in questions for name in models))
    if n < arrays.FEWEST:
        few = Value(None, reason=f"only {n} finite prompts; {arrays.FEWEST} are needed")
        return {(e.id, pair): few for e in wanted for pair in pairs}
    values: dict[tuple[str, Pair], Value] = {}
    views: dict[View, list[Estimator]] = {}
    for e in wanted:
        if e.view is not None:
            views.setdefault(e.view, []).append(e)
        else:
            values |= {(e.id, pair): _measured(e, here[pair[1]], here[pair[0]]) for pair in pairs}
    for view, members in views.items():
        found = view_values(view, here, pairs, groups, {e.debiased for e in members})
        values |= {(e.id, pair): found[pair, e.debiased] for e in members for pair in pairs}
    return values


def _measured(e: Estimator, Y: Tensor, Z: Tensor) -> Value:
    """Return the value of an estimator that is a function of two matrices."""
    assert e.measure is not None
    try:
        return Value(float(e.measure(Y, Z)), reason=f"no standard error is known for {e.id}")
    except SimilarityError as undefined:
        return Value(None, reason=str(undefined))


def _rows(
    values: Mapping[tuple[str, Pair], Value],
    question: Question,
    here: Mapping[str, Tensor],
    common: Mapping[str, int],
    baseline: str,
    confidence: float,
) -> Comparison:
    """Return the rows of one question at one layer."""
    result = Comparison()
    control, models = question
    for (id, (against, name)), value in values.items():
        if against != control or name not in models:
            continue
        key = {"model": name, "layer": common["layer"], "estimator": id}
        size = {"n": common["n"], "d": int(here[name].shape[1])}
        row = estimate(value, confidence)
        counted = size | {"non_finite": common["non_finite"], "reason": row.reason}
        result.similarity.append(key | {"value": row.value} | _spread(row) | counted)
        if name != baseline and baseline in models:
            change = estimate(minus(value, values[id, (control, baseline)], baseline), confidence)
            result.difference.append(
                key | {"difference": change.value} | _spread(change) | size | {"reason": change.reason}
            )
    return result


def _spread(row: Estimate) -> dict[str, float | None]:
    return {"standard_error": row.standard_error, "low": row.low, "high": row.high}
