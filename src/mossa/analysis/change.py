"""What instruction tuning changed (RQ2), and for tasks it never saw (RQ3): paired differences and their tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.bootstrap import interval
from mossa.analysis.curves import curve, populations

FEWEST_TASKS = 6

COLUMNS = [
    "experimental",
    "population",
    "layer",
    "estimator",
    "tasks",
    "undefined",
    "closer",
    "median",
    "low",
    "high",
    "p_value",
    "q_value",
    "reason",
]
UNSEEN_COLUMNS = [
    "experimental",
    "layer",
    "estimator",
    "tasks",
    "seen_tasks",
    "median",
    "low",
    "high",
    "p_value",
    "q_value",
    "seen_median",
    "gap",
    "gap_low",
    "gap_high",
    "gap_p_value",
    "gap_q_value",
    "reason",
]
TASK_COLUMNS = [
    "experimental",
    "task",
    "cluster",
    "held_out",
    "layer",
    "estimator",
    "difference",
    "standard_error",
    "low",
    "high",
    "p_value",
    "q_value",
    "reason",
]


def paired_differences(curves: pd.DataFrame, experimental: str, baseline: str, estimator: str) -> pd.DataFrame:
    """Return E minus base against the same controls, `[T, L]`; null where either is undefined."""
    return curve(curves, experimental, estimator) - curve(curves, baseline, estimator)


def adjust(p_values: pd.Series) -> pd.Series:
    """Return Benjamini-Hochberg q values of the p values that exist; null stays null."""
    found = p_values.dropna().astype(float)
    q = pd.Series(np.nan, index=p_values.index)
    if len(found):
        q.loc[found.index] = stats.false_discovery_control(found.to_numpy())
    return q


def change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, population, layer, estimator), the paired difference over tasks; see `COLUMNS`.

    `median` with its bootstrap interval `low`, `high`; `closer` counts tasks with a positive difference; `p_value`
    is Wilcoxon's signed-rank test over tasks (two-sided), null with a `reason` below 6 tasks or where every
    difference is zero; `q_value` is Benjamini-Hochberg over the layers of one model, population and estimator.
    """
    ...
    return pd.DataFrame(columns=COLUMNS)


def unseen(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, layer, estimator), the held-out tasks beside the seen ones; see `UNSEEN_COLUMNS`.

    `gap` is the median difference of the held-out minus that of the seen tasks, with a bootstrap interval over
    both; `gap_p_value` is the Mann-Whitney test between them. Empty where nothing was held out.
    """
    return pd.DataFrame(columns=UNSEEN_COLUMNS)


def task_change(difference: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Return the `difference` table with a two-sided normal test per row; see `TASK_COLUMNS`.

    `q_value` is Benjamini-Hochberg over all tasks and layers of one model and estimator. Tasks none of whose
    controls learned are left out.
    """
    return pd.DataFrame(columns=TASK_COLUMNS)


_ = (interval, populations, FEWEST_TASKS)
