"""The unit that turns representations into numbers: everything that is compared on one task's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mossa.errors import SimilarityError
from mossa.similarity import Comparison, spectrum
from mossa.similarity.compare import Question, compare_several
from mossa.steps.context import StepContext
from mossa.steps.device import computing_device, on_device
from mossa.steps.rounding import finite_in_all, rounded_layers, without_rounded
from mossa.store.tensors import tensor_of
from mossa.study.schema import BASE
from mossa.units.models import role
from mossa.units.unit import Unit

Array = np.ndarray[Any, Any]


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
    asked: list[tuple[str, Question]] = [
        (relation, (reference, tuple(experimental))) for relation, names in compared.items() for reference in names
    ]
    asked += [("ceiling", (one, (other,))) for one, other in combinations(controls, 2)]
    device = computing_device(context.device)
    answers = on_device(partial(_compare, models, [question for _, question in asked], settings, groups), device)
    for (relation, (reference, _)), found in zip(asked, answers, strict=True):
        rows = without_rounded(found.similarity, reference, rounded)
        similarity += _labelled(rows, relation, reference, unit)
        # The table holds one difference per model: against the first seed's control.
        if relation == "control" and reference == controls[0]:
            difference += _labelled(found.difference, None, None, unit)
    spectra = [
        row
        for name in dict.fromkeys([BASE, *settings["experimental"], *controls])
        for row in on_device(partial(_spectrum_rows, models[name], base, name, role(context.study, name), unit), device)
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
    models: Mapping[str, Array],
    questions: Sequence[Question],
    settings: dict[str, Any],
    groups: Sequence[str | None] | None,
    device: torch.device,
) -> list[Comparison]:
    chosen: list[str] = settings["similarity"]["estimators"]
    estimators = list(chosen)
    if settings["similarity"]["shift"]:
        estimators += [f"shift-{name}" for name in chosen if name.startswith("cka-")]
    found = compare_several(
        {name: tensor_of(array) for name, array in models.items()},
        questions,
        estimators,
        origin=BASE,
        groups=groups,
        baseline=BASE,
        non_finite="drop",
        device=device,
        dtype=torch.float32,
    )
    return [_without_own_shift(each) for each in found]


def _without_own_shift(found: Comparison) -> Comparison:
    """Return a comparison without shift rows of the base, which has not changed from itself."""
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
        name = "control" if relation == "ceiling" else name
        head: dict[str, Any] = {"experimental": name}
        if relation is not None:
            head |= {"relation": relation, "reference": reference}
        held_out = unit.settings["experimental"].get(name, False)
        labelled.append({**head, "task": unit.key, "cluster": unit.settings["cluster"], "held_out": held_out, **row})
    return labelled


def _spectrum_rows(
    array: Array, base: Array, name: str, kind: str, unit: Unit, device: torch.device
) -> list[dict[str, Any]]:
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
        for layer, distance in zip(spectrum(tensor_of(array), non_finite="drop", device=device), distances, strict=True)
    ]


def _distances(array: Array, base: Array) -> list[float | None]:
    """Return ‖Y - B‖_F / ‖B - mean(B)‖_F per layer over prompts finite in both; None where B is constant."""
    finite = finite_in_all([array, base])
    found: list[float | None] = []
    for layer in range(base.shape[1]):
        y, b = array[finite, layer].astype(np.float64), base[finite, layer].astype(np.float64)
        change, spread = np.linalg.norm(y - b), np.linalg.norm(b - b.mean(axis=0))
        found.append(float(change / spread) if spread > 0 else None)
    return found
