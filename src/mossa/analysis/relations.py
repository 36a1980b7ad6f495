"""Which layers of two models resemble each other, and which tasks: by their controls, on common prompts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from mossa.errors import SimilarityError
from mossa.similarity.arrays import as_layers
from mossa.similarity.layer_map import pairwise

LAYER_MAP_COLUMNS = ["model", "other", "task", "layer", "other_layer", "value", "n", "non_finite", "reason"]
MOST_PROMPTS = 1000

AFFINITY_COLUMNS = ["layer", "task", "other", "value", "n", "non_finite", "reason"]
MERGE_COLUMNS = ["layer", "step", "left", "right", "height", "tasks"]


def layer_map(
    representations: NDArray[np.floating], others: NDArray[np.floating], model: str, other: str, task: str
) -> pd.DataFrame:
    """Return debiased linear CKA of every layer of `[n, L, d]` with every layer of the other model.

    Columns: `LAYER_MAP_COLUMNS`.

    Both models saw the same n prompts of `task`; d and L may differ. Prompts that are not finite in both are dropped
    and counted. At most 1000 evenly spaced prompts are used; `n` says how many. Raises SimilarityError for shapes that
    do not fit and for fewer than 4 prompts.
    """
    finite = finite_prompts({model: representations, other: others})
    chosen = np.flatnonzero(finite)
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(MOST_PROMPTS, len(chosen))).round().astype(int))]
    sides = [
        as_layers(side[chosen].astype(np.float64), name).unbind(1)
        for side, name in ((representations, model), (others, other))
    ]
    values, reasons = pairwise(*sides)
    rows = [
        (model, other, task, i + 1, j + 1, float(value), len(chosen), int((~finite).sum()),
         reasons[i] or reasons[len(values) + j])
        for (i, j), value in np.ndenumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=LAYER_MAP_COLUMNS)


def finite_prompts(named: dict[str, NDArray[np.floating]]) -> NDArray[np.bool_]:
    """Return which prompts `[n]` are finite in all arrays `[n, L, d]`; raise SimilarityError if shapes do not fit."""
    first, one = next(iter(named.items()))
    for name, array in named.items():
        if array.ndim != 3 or array.shape[0] != one.shape[0]:
            raise SimilarityError(
                f"{name!r} has representations of shape {array.shape} where {first!r} has {one.shape}; "
                "they must be [n, L, d] on the same n prompts."
            )
    layers = (array[:, layer] for array in named.values() for layer in range(array.shape[1]))
    return np.all([np.isfinite(layer).all(axis=1) for layer in layers], axis=0)


def affinity(representations: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Return debiased linear CKA for each pair of tasks and layer, in both orders and with itself.

    Columns: `AFFINITY_COLUMNS`.

    `representations` maps a task to its control's `[n, L, d]` on prompts common to all; subtract the base's first to
    compare changes. Prompts not finite in every control are dropped and counted. Raises SimilarityError for shapes
    that do not fit and for fewer than 4 prompts.
    """
    names = list(representations)
    if not names:
        return pd.DataFrame(columns=AFFINITY_COLUMNS)
    finite = finite_prompts(dict(representations))
    depth = representations[names[0]].shape[1]
    for name, array in representations.items():
        if array.shape[1] != depth:
            raise SimilarityError(f"{name!r} has {array.shape[1]} layers where {names[0]!r} has {depth}.")
    counts = int(finite.sum()), int((~finite).sum())
    rows: list[tuple[object, ...]] = []
    for layer in range(depth):
        here = {name: array[finite, layer].astype(np.float64) for name, array in representations.items()}
        values, reasons = pairwise([as_layers(array, name)[:, 0] for name, array in here.items()])
        rows += [
            (layer + 1, names[i], names[j], float(value), *counts, reasons[i] or reasons[j])
            for (i, j), value in np.ndenumerate(values)
        ]
    return pd.DataFrame(rows, columns=AFFINITY_COLUMNS)


def dendrogram(affinity: pd.DataFrame, layer: int | None = None) -> pd.DataFrame:
    """Return the average-linkage merges of tasks on distance 1 - value; see `MERGE_COLUMNS`.

    `layer` null means the mean over the layers where every pair is defined (column `layer` is then null). `left` and
    `right` are tuples of task names, the leaves in drawing order; `height` is the distance, `tasks` their number.
    Tasks with an undefined value are left out; no rows where fewer than two remain.
    """
    chosen = affinity if layer is None else affinity[affinity["layer"] == layer]
    if layer is None:
        chosen = chosen[~chosen["layer"].isin(chosen.loc[chosen["value"].isna(), "layer"])]
    matrix = chosen.groupby(["task", "other"], sort=False)["value"].mean().unstack(sort=False)
    known = np.diag(matrix.notna().to_numpy()) if len(matrix) else []
    matrix = matrix.loc[known, known]
    if len(matrix) < 2:
        return pd.DataFrame(columns=MERGE_COLUMNS)
    distance = 1 - matrix.to_numpy(float)
    np.fill_diagonal(distance, 0.0)
    merges = linkage(squareform((distance + distance.T) / 2), method="average")
    groups: list[tuple[str, ...]] = [(str(name),) for name in matrix.index]
    rows: list[tuple[object, ...]] = []
    for step, (i, j, height, size) in enumerate(merges, start=1):
        left, right = groups[int(i)], groups[int(j)]
        groups.append(left + right)
        rows.append((layer, step, left, right, float(height), int(size)))
    return pd.DataFrame(rows, columns=MERGE_COLUMNS)
