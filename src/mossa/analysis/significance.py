"""Tests over tasks and what is left of them after many: signed ranks and false-discovery control."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.bootstrap import Floats

FEWEST_TASKS = 6


def wilcoxon(differences: Floats) -> tuple[float, str | None]:
    """Return the two-sided p value of Wilcoxon's signed-rank test over tasks, or NaN and the reason."""
    if len(differences) < FEWEST_TASKS:
        return float("nan"), f"{len(differences)} tasks; the signed-rank test needs {FEWEST_TASKS} to reach p < .05"
    if not differences.any():
        return float("nan"), "every difference is zero"
    return float(np.asarray(stats.wilcoxon(differences))[1]), None


def adjust(p_values: pd.Series) -> pd.Series:
    """Return Benjamini-Hochberg q values of the p values that exist; null stays null."""
    found = p_values.dropna().astype(float)
    q = pd.Series(np.nan, index=p_values.index)
    if len(found):
        q.loc[found.index] = stats.false_discovery_control(found.to_numpy())
    return q


def adjusted(table: pd.DataFrame, p_column: str, q_column: str, by: list[str]) -> pd.DataFrame:
    """Fill `q_column` from `p_column`, one family of tests per group."""
    if len(table):
        table[q_column] = table.groupby(by)[p_column].transform(adjust)
    return table
