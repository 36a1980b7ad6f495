"""The unit that turns representations into numbers: everything that is compared on one task's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mossa.errors import SimilarityError
from mossa.similarity import Comparison, compare, spectrum
from mossa.steps.context import StepContext
from mossa.steps.rounding import rounded_layers, without_rounded
from mossa.study.schema import BASE
from mossa.units.plan import role
from mossa.units.unit import Unit

Array = np.ndarray[Any, Any]
REPLICATE = "replicate"  # the same control trained with another seed


def compare_task(unit: Unit, context: StepContext, folder: Path) -> dict[str, Any]:
    """Compare experimental models with the task's own, sham and other controls, and the controls with one another."""
    settings = unit.settings
    models, index = _load(unit, context)
    base = models[BASE]
    experimental = {name: models[name] for name in settings["experimental"]}
    templates = [context.tasks[unit.key].test[place].template for place in index]
    groups = templates if settings["templates"] else None
    similarity: list[dict[str, Any]] = []
    difference: list[dict[str, Any]] = []
    controls = settings["controls"]
    rounded = rounded_layers(base, models) if "rounded" in settings else {name: set[int]() for name in models}
    compared = {"control": controls, "other_control": settings["others"], "sham": settings.get("shams", [])}
    for relation, references in compared.items():
        for reference in references:
            found = _compare(models[reference], experimental, settings, base, groups)
            similarity += _labelled(without_rounded(found.similarity, reference, rounded), relation, reference, unit)
            # The table holds one difference per model: against the first seed's control.
            if reference == controls[0]:
                difference += _labelled(found.difference, None, None, unit)
    for number, reference in enumerate(controls[:-1]):
        for other in controls[number + 1 :]:
            found = _compare(models[reference], {REPLICATE: models[other]}, settings, base, groups)
            of_both = rounded | {REPLICATE: rounded[other]}
            similarity += _labelled(without_rounded(found.similarity, reference, of_both), "ceiling", reference, unit)
    spectra = [
        row
        for name in dict.fromkeys([BASE, *settings["experimental"], *controls])
        for row in _spectrum_rows(models[name], base, name, role(context.study, name), unit)
    ]
    for table, rows in (("similarity", similarity), ("difference", difference), ("spectrum", spectra)):
        if rows:
            pd.DataFrame(rows).to_parquet(folder / f"{table}.parquet", index=False)
    return {"prompts": len(index), "undefined": sum(row["value"] is None for row in similarity)}


def _load(unit: Unit, context: StepContext) -> tuple[dict[str, Array], Array]:
    models: dict[str, Array] = {}
    index: Array | None = None
    for identifier in unit.inputs:
        name = identifier.removeprefix("represent/").split("@")[0]
        loaded = context.representations(name, unit.key)
        if index is not None and not np.array_equal(index, loaded["index"]):
            raise SimilarityError(f"{unit.title}: {name} has representations of other prompts than the first model.")
        index = loaded["index"]
        models[name] = loaded["representations"]
    assert index is not None
    return models, index


def _compare(
    control: Array, models: dict[str, Array], settings: dict[str, Any], base: Array, groups: Sequence[str | None] | None
) -> Comparison:
    chosen: list[str] = settings["similarity"]["estimators"]
    estimators = list(chosen)
    if settings["similarity"]["shift"]:
        estimators += [f"shift-{name}" for name in chosen if name.startswith("cka-")]
    found = compare(models, control, estimators, groups=groups, origin=base, baseline=BASE, non_finite="drop")
    # The base has not changed from itself: its shift rows would say nothing but that.
    kept = [row for row in found.similarity if row["model"] != BASE or not row["estimator"].startswith("shift-")]
    changes = [row for row in found.difference if not row["estimator"].startswith("shift-")]
    return Comparison(kept, changes)


def _labelled(
    rows: list[dict[str, Any]], relation: str | None, reference: str | None, unit: Unit
) -> list[dict[str, Any]]:
    labelled: list[dict[str, Any]] = []
    for row in rows:
        row = dict(row)
        name = row.pop("model")
        name = "control" if name == REPLICATE else name  # what the tables call it; `compare` keeps that name to itself
        head: dict[str, Any] = {"experimental": name}
        if relation is not None:
            head |= {"relation": relation, "reference": reference}
        held_out = unit.settings["experimental"].get(name, False)
        labelled.append({**head, "task": unit.key, "cluster": unit.settings["cluster"], "held_out": held_out, **row})
    return labelled


def _spectrum_rows(array: Array, base: Array, name: str, kind: str, unit: Unit) -> list[dict[str, Any]]:
    head = {"model": name, "role": kind, "task": unit.key, "cluster": unit.settings["cluster"]}
    if len(array) < 4:
        return []  # said by the similarity rows, whose reason is the same
    distances = [None] * array.shape[1] if kind == "base" else _distances(array, base)
    return [
        {
            **head,
            "layer": layer.layer,
            "n": layer.n,
            "d": layer.d,
            "dimensions_99": layer.dimensions,
            "participation_ratio": layer.participation_ratio,
            "effective_rank": layer.effective_rank,
            "distance": distance,
            "reason": layer.reason,
        }
        for layer, distance in zip(spectrum(array, non_finite="drop"), distances, strict=True)
    ]


def _distances(array: Array, base: Array) -> list[float | None]:
    """Return ‖Y - B‖_F / ‖B - mean(B)‖_F per layer over prompts finite in both; None where B is constant."""
    finite = np.isfinite(array).all(axis=(1, 2)) & np.isfinite(base).all(axis=(1, 2))
    y, b = array[finite].astype(np.float64), base[finite].astype(np.float64)
    change = np.sqrt(((y - b) ** 2).sum(axis=(0, 2)))
    spread = np.sqrt(((b - b.mean(axis=0)) ** 2).sum(axis=(0, 2)))
    return [float(c / s) if s > 0 else None for c, s in zip(change, spread, strict=True)]
