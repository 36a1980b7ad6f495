"""Which layer of one model resembles which layer of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mossa.analysis.grams import finite_prompts, unit_grams, why_undefined

COLUMNS = ["model", "other", "task", "layer", "other_layer", "value", "n", "non_finite", "reason"]
MOST_PROMPTS = 1000


def layer_map(
    representations: NDArray[np.floating], others: NDArray[np.floating], model: str, other: str, task: str
) -> pd.DataFrame:
    """Return debiased linear CKA of every layer of `[n, L, d]` with every layer of the other model; see `COLUMNS`.

    Both on the same n prompts of `task`; d and L may differ. Prompts not finite in both are dropped and counted; of
    more than 1000 others, 1000 evenly spaced ones are taken, and the column `n` says how many were. Raises
    SimilarityError for shapes that do not fit and for fewer than 4 prompts.
    """
    finite = finite_prompts([representations, others], [model, other])
    chosen = np.flatnonzero(finite)
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(MOST_PROMPTS, len(chosen))).round().astype(int))]
    values = unit_grams(representations[chosen]) @ unit_grams(others[chosen]).T
    rows = [
        {
            "model": model,
            "other": other,
            "task": task,
            "layer": layer + 1,
            "other_layer": other_layer + 1,
            "value": float(value),
            "n": len(chosen),
            "non_finite": int((~finite).sum()),
            "reason": why_undefined(value),
        }
        for (layer, other_layer), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
