"""Which layer of one model resembles which layer of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mossa.errors import SimilarityError
from mossa.similarity.arrays import as_layers
from mossa.similarity.layer_map import pairwise

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
    finite = finite_prompts({model: representations, other: others})
    chosen = np.flatnonzero(finite)
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(MOST_PROMPTS, len(chosen))).round().astype(int))]
    sides = [
        as_layers(side[chosen].astype(np.float64), name).unbind(1)
        for side, name in ((representations, model), (others, other))
    ]
    values, reasons = pairwise(*sides)
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
            "reason": reasons[layer] or reasons[len(values) + other_layer],
        }
        for (layer, other_layer), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def finite_prompts(named: dict[str, NDArray[np.floating]]) -> NDArray[np.bool_]:
    """Return which prompts `[n]` are finite in all arrays `[n, L, d]`; SimilarityError if they are of other shapes."""
    first, one = next(iter(named.items()))
    for name, array in named.items():
        if array.ndim != 3 or array.shape[0] != one.shape[0]:
            raise SimilarityError(
                f"{name!r} has representations of shape {array.shape} where {first!r} has {one.shape}; "
                "they must be [n, L, d] on the same n prompts."
            )
    layers = (array[:, layer] for array in named.values() for layer in range(array.shape[1]))
    return np.all([np.isfinite(layer).all(axis=1) for layer in layers], axis=0)
