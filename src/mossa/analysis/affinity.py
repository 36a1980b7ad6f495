"""Which tasks share representations: the similarity of every control to every other on common prompts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = ["layer", "task", "other", "value", "n", "reason"]
MERGE_COLUMNS = ["layer", "step", "left", "right", "height", "tasks"]


def affinity(representations: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Return debiased linear CKA for each pair of tasks and layer (both orders and the diagonal); see `COLUMNS`.

    `representations` maps a task to its control's `[n, L, d]` on prompts common to all. Subtract the base's first to
    compare changes.
    """
    return pd.DataFrame(columns=COLUMNS)


def dendrogram(affinity: pd.DataFrame, layer: int | None = None) -> pd.DataFrame:
    """Return the average-linkage merges of tasks on distance 1 - value; see `MERGE_COLUMNS`.

    `layer` null means the mean over layers (column `layer` is then null). `left` and `right` are task names joined
    with " + ".
    """
    return pd.DataFrame(columns=MERGE_COLUMNS)
