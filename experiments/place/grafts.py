"""Readings of a model tuned in all layers against what its layers are worth: Spearman over layers, mean over tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.place.bootstrap import group_mean_words
from experiments.place.verdict import rank_correlation

TRUTHS = ("shapley", "first-k", "last-k", "leave-one-out", "add-one-in", "leave-window-out", "add-window-in")
READINGS = ("one-layer-change", "relative-change", "answer-gain-increment", "paper", "paper-increment", "early")
ESTIMATOR = "cka-linear-debiased"


def against_grafts(run: Path, experimental: str = "sft", windows: Path | None = None) -> str:
    """Return a Markdown table of every reading against every truth, for one model of a study with `place`.

    `windows`: a table of `mossa locate --window 3` on the same tasks, for windows left out and added.
    """
    place = pd.read_parquet(run / "results" / "place.parquet")
    place = place[place["experimental"] == experimental]
    if windows:
        wide = pd.read_parquet(windows)
        place = pd.concat([place, wide[wide["reading"].str.contains("window")]])
    similarity = pd.read_parquet(run / "results" / "similarity.parquet")
    rows = [_of_task(task, place, similarity, experimental) for task in sorted(place["task"].unique())]
    rows = [row for row in rows if row]
    clusters = place.dropna(subset="cluster").set_index("task")["cluster"].to_dict()
    lines = [
        f"{len(rows)} tasks with a gain.",
        "",
        f"| reading | {' | '.join(TRUTHS)} |",
        f"|{' --- |' * (len(TRUTHS) + 1)}",
    ]
    for reading in READINGS:
        cells = [_mean([(clusters[row["task"]], row.get((reading, truth))) for row in rows]) for truth in TRUTHS]
        lines.append(f"| {reading} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_task(task: str, place: pd.DataFrame, similarity: pd.DataFrame, experimental: str) -> dict[object, object]:
    """Return Spearman's correlation by (reading, truth) for one task; nothing where the graft has no values."""
    here = place[(place["task"] == task) & (place["layer"] > 0)]
    values = {str(name): _by_layer(part) for name, part in here.groupby("reading")}
    if "shapley" not in values or not np.isfinite(values["shapley"]).all():
        return {}
    own = similarity[(similarity["task"] == task) & (similarity["estimator"] == ESTIMATOR)]
    values["paper"] = _to_controls(own, experimental) - _to_controls(own, "pretrained")
    values["paper-increment"] = np.diff(values["paper"], prepend=0.0)
    values["early"] = -np.arange(len(values["shapley"]), dtype=float)
    found: dict[object, object] = {"task": task}
    for reading in READINGS:
        for truth in TRUTHS:
            if truth in values and reading in values and np.isfinite(values[reading]).all():
                found[reading, truth] = rank_correlation(values[reading], values[truth])
    return found


def _by_layer(rows: pd.DataFrame) -> NDArray[np.float64]:
    return rows.sort_values("layer")["value"].to_numpy(dtype=float)


def _to_controls(rows: pd.DataFrame, model: str) -> NDArray[np.float64]:
    """Return the similarity of a model to the task's controls per layer, mean over seeds."""
    chosen = rows[(rows["relation"] == "control") & (rows["experimental"] == model)]
    return chosen.groupby("layer")["value"].mean().sort_index().to_numpy(dtype=float)


def _mean(found: list[tuple[str, object]]) -> str:
    """Return a mean with its 95 % interval from a bootstrap over clusters."""
    by_cluster: dict[str, list[float]] = {}
    for cluster, value in found:
        if isinstance(value, float) and np.isfinite(value):
            by_cluster.setdefault(cluster, []).append(value)
    return group_mean_words(list(by_cluster.values()))
