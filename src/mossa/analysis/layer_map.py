"""Which layer of one model resembles which layer of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mossa.analysis.grams import finite_prompts, unit_grams, why_undefined

COLUMNS = ["model", "other", "task", "layer", "other_layer", "value", "n", "non_finite", "reason"]


def layer_map(
    representations: NDArray[np.floating], others: NDArray[np.floating], model: str, other: str, task: str
) -> pd.DataFrame:
    """Return debiased linear CKA of every layer of `[n, L, d]` with every layer of the other model; see `COLUMNS`.

    Both on the same n prompts of `task`; d and L may differ. Prompts not finite in both are dropped and counted.
    Raises SimilarityError for shapes that do not fit and for fewer than 4 prompts.
    """
    finite = finite_prompts([representations, others], [model, other])
    values = unit_grams(representations[finite]) @ unit_grams(others[finite]).T
    rows = [
        {
            "model": model,
            "other": other,
            "task": task,
            "layer": layer + 1,
            "other_layer": other_layer + 1,
            "value": float(value),
            "n": int(finite.sum()),
            "non_finite": int((~finite).sum()),
            "reason": why_undefined(value),
        }
        for (layer, other_layer), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
