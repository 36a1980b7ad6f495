"""Which tasks share representations: the similarity of every control to every other on common prompts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from mossa.analysis.layer_map import finite_prompts
from mossa.errors import SimilarityError
from mossa.similarity.arrays import as_layers
from mossa.similarity.layer_map import pairwise

COLUMNS = ["layer", "task", "other", "value", "n", "non_finite", "reason"]
MERGE_COLUMNS = ["layer", "step", "left", "right", "height", "tasks"]


def affinity(representations: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Return debiased linear CKA for each pair of tasks and layer (both orders and the diagonal); see `COLUMNS`.

    `representations` maps a task to its control's `[n, L, d]` on prompts common to all; subtract the base's first to
    compare changes. Prompts not finite in every control are dropped and counted. Raises SimilarityError for shapes
    that do not fit and for fewer than 4 prompts.
    """
    names = list(representations)
    if not names:
        return pd.DataFrame(columns=COLUMNS)
    finite = finite_prompts(dict(representations))
    depth = representations[names[0]].shape[1]
    for name, array in representations.items():
        if array.shape[1] != depth:
            raise SimilarityError(f"{name!r} has {array.shape[1]} layers where {names[0]!r} has {depth}.")
    rows: list[dict[str, object]] = []
    for layer in range(depth):
        here = {name: array[finite, layer].astype(np.float64) for name, array in representations.items()}
        values, reasons = pairwise([as_layers(array, name)[:, 0] for name, array in here.items()])
        for (i, j), value in np.ndenumerate(values):
            rows.append(
                {
                    "layer": layer + 1,
                    "task": names[i],
                    "other": names[j],
                    "value": float(value),
                    "n": int(finite.sum()),
                    "non_finite": int((~finite).sum()),
                    "reason": reasons[i] or reasons[j],
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


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
    alone = np.diag(matrix.isna().to_numpy()) if len(matrix) else np.zeros(0, bool)
    matrix = matrix.loc[~alone, ~alone]
    if len(matrix) < 2:
        return pd.DataFrame(columns=MERGE_COLUMNS)
    distance = 1 - matrix.to_numpy(float)
    np.fill_diagonal(distance, 0.0)
    merges = linkage(squareform((distance + distance.T) / 2), method="average")
    groups: list[tuple[str, ...]] = [(str(name),) for name in matrix.index]
    rows: list[dict[str, object]] = []
    for step, (left, right, height, _) in enumerate(merges, start=1):
        pair = groups[int(left)], groups[int(right)]
        groups.append(pair[0] + pair[1])
        rows.append(
            {
                "layer": layer,
                "step": step,
                "left": pair[0],
                "right": pair[1],
                "height": float(height),
                "tasks": len(groups[-1]),
            }
        )
    return pd.DataFrame(rows, columns=MERGE_COLUMNS)
