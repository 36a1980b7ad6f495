"""The numbers the page draws, as one JSON object: rounded to four decimals, null where undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import Findings
from mossa.report.colours import (
    BLUE,
    CEILING,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    cluster_marks,
    in_order,
    model_colours,
)
from mossa.report.figures.lines import section_spans
from mossa.report.figures.ranking import MEANING
from mossa.report.figures.relations import leaf_order
from mossa.report.gallery import correlations
from mossa.report.select import reading, tuned_on

MOST_POINTS = 1500
"""Prompts drawn per model and layer in the projection; the page says how many there are."""

# The same hues, lighter, for a dark background.
DARK = {
    BLUE: "#4DA3E0",
    VERMILLION: "#F58442",
    GREEN: "#2FC79B",
    PURPLE: "#DD94BC",
    ORANGE: "#F0B133",
    SKY: "#7CC8F0",
    GREY: "#A8A8A8",
}
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
}


def page_data(findings: Findings, estimator: str) -> dict[str, Any]:
    """Return what the scripts of the page draw, ready for JSON."""
    rows = reading(findings.curves, estimator)
    models, colours = in_order(rows["experimental"]), model_colours(findings.curves["experimental"])
    layers = sorted({int(layer) for layer in rows["layer"]})
    clusters = cluster_marks(findings.curves["cluster"])
    chosen = {name: _of(getattr(findings, name), estimator) for name in ("change", "sections", "dose", "encoded")}
    return {
        "estimator": estimator,
        "baseline": findings.baseline,
        "ceiling": CEILING,
        "layers": layers,
        "models": [_model(model, colours[model]) for model in models],
        "clusters": [_cluster(name, *mark) for name, mark in clusters.items()],
        "tasks": [
            {"task": task, "cluster": cluster}
            for task, cluster in rows[["task", "cluster"]].drop_duplicates().sort_values(["cluster", "task"]).to_numpy()
        ],
        "curves": _curves(rows, layers),
        "sections": _sections(chosen["sections"], layers),
        "change": records(_population(chosen["change"]), ["experimental", "layer", "median", "low", "high", "q_value"]),
        "dimensionality": records(findings.dimensionality, ["model", "layer", "tasks", "dimensions_99", "low", "high"]),
        "correlates": records(
            correlations(findings, estimator),
            ["experimental", "layer", "correlate", "method", "correlation", "low", "high", "q_value", "tasks"],
        ),
        "encoded": _encoded(chosen["encoded"]),
        "projection": _projection(findings.projection),
        "separability": records(findings.separability, ["model", "layer", "label", "accuracy", "chance", "silhouette"]),
        "dose": records(
            chosen["dose"], ["reference", "task", "cluster", "steps", "update_norm", "base_similarity", "learned"]
        ),
        "controls": records(
            findings.controls,
            ["reference", "task", "cluster", "loss", "base_loss", "relative_drop", "learned", "reason"],
        ),
        "affinity": _mean_affinity(findings.affinity),
        "layerMap": _mean_layer_map(findings.layer_map),
    }


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: numbers rounded to four decimals, null for NaN and missing."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _rounded(float(value))
    return None if value is None or value is pd.NA or value is pd.NaT else str(value)


def _rounded(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = round(value, 4)
    return int(short) if short.is_integer() else short


def records(table: pd.DataFrame, columns: list[str]) -> dict[str, list[Any]]:
    """Return the columns of `table` as lists, empty where the table or the column is not there."""
    return {name: [plain(value) for value in table[name]] if name in table.columns else [] for name in columns}


def _of(table: pd.DataFrame, estimator: str) -> pd.DataFrame:
    return table[table["estimator"].eq(estimator)]


def _model(name: str, colour: str) -> dict[str, str]:
    return {"name": name, "colour": colour, "dark": DARK[colour]}


def _cluster(name: str, colour: str, marker: str) -> dict[str, str]:
    return {"name": name, "colour": colour, "dark": DARK[colour], "symbol": SYMBOLS[marker]}


def _curves(rows: pd.DataFrame, layers: list[int]) -> dict[str, dict[str, Any]]:
    """Return {model: {task: value, low, high, n and reason per layer}}, nulls where a layer was not measured."""
    found: dict[str, dict[str, Any]] = {}
    for (model, task), part in rows.groupby(["experimental", "task"], sort=False):
        ordered = part.set_index("layer").reindex(layers)
        reasons = [plain(reason) for reason in ordered["reason"].where(ordered["reason"].notna(), None)]
        found.setdefault(str(model), {})[str(task)] = {
            "held": bool(part["held_out"].iloc[0]),
            **{name: [plain(value) for value in ordered[name]] for name in ("value", "low", "high", "n")},
            "reason": reasons if any(reasons) else [],
        }
    return found


def _population(change: pd.DataFrame) -> pd.DataFrame:
    """Return for every model the rows of the tasks it was tuned on."""
    parts = [part[part["population"].eq(tuned_on(part))] for _, part in change.groupby("experimental", sort=False)]
    return pd.concat(parts) if parts else change


def _sections(found: pd.DataFrame, layers: list[int]) -> dict[str, Any]:
    """Return {model: spans as (name, first, last), boundary intervals, and why not three sections}."""
    spans: dict[str, Any] = {}
    for _, row in _population(found).iterrows():
        spans[str(row["experimental"])] = {
            "spans": section_spans(row, layers[0], layers[-1]),
            "reason": plain(row["reason"]) if pd.notna(row["reason"]) else None,
            "intervals": {
                name: [plain(row[f"{name}_low"]), plain(row[f"{name}_high"])]
                for name in ("shared_end", "transition_end")
                if pd.notna(row[name])
            },
        }
    return spans


def _encoded(table: pd.DataFrame) -> dict[str, Any]:
    """Return what the base held of each task, and which measure says so."""
    short = table.rename(columns={"value": "x", "low": "from", "high": "to"}, errors="ignore")
    found = records(short, ["task", "cluster", "x", "from", "to", "rank", "rank_low", "rank_high", "q_value", "reason"])
    return {"measure": "value", "meaning": MEANING, "rows": found}


def _projection(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one object per (model, layer), each thinned evenly to `MOST_POINTS` prompts and counted."""
    if table.empty:
        return []
    panels: list[dict[str, Any]] = []
    for model in in_order(table["model"]):
        for layer, part in table[table["model"].eq(model)].groupby("layer"):
            kept = part.iloc[:: max(1, math.ceil(len(part) / MOST_POINTS))]
            panels.append(
                {
                    "model": model,
                    "layer": plain(layer),
                    "prompts": len(part),
                    "x": [round(float(x), 1) for x in kept["x"]],
                    "y": [round(float(y), 1) for y in kept["y"]],
                    **{name: [str(value) for value in kept[name]] for name in ("task", "cluster")},
                }
            )
    return panels


def _mean_affinity(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the affinity of every pair of tasks, averaged over the layers where it is defined."""
    if table.empty:
        return {}
    mean = table.groupby(["task", "other"], as_index=False)[["value"]].mean()
    return {**records(mean, ["task", "other", "value"]), "order": leaf_order(table)}


def _mean_layer_map(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, per pair of models, the similarity of every layer with every other, averaged over tasks."""
    if table.empty:
        return []
    maps: list[dict[str, Any]] = []
    for (model, other), part in table.groupby(["model", "other"], sort=False):
        mean = part.groupby(["layer", "other_layer"], as_index=False)[["value"]].mean()
        columns = records(mean, ["layer", "other_layer", "value"])
        maps.append({"model": model, "other": other, "tasks": int(part["task"].nunique()), **columns})
    return maps
