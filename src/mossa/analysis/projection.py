"""Pictures of all tasks' representations at chosen layers (figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = ["model", "layer", "task", "cluster", "prompt", "x", "y"]


def projection(
    representations: Mapping[str, NDArray[np.floating]],
    clusters: Mapping[str, str],
    layers: Sequence[int],
    model: str,
    per_task: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the t-SNE position of every prompt at each of `layers`; see `COLUMNS`.

    `representations` maps a task to `[n, L, d]`. PCA to 50 dimensions first, perplexity 30 (less for fewer than 91
    prompts), seeded. At most `per_task` prompts of a task, evenly spaced; `prompt` is the row in the task's array.
    """
    return pd.DataFrame(columns=COLUMNS)
