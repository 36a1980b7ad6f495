"""Statistics over tasks: the tasks are the sample, so all uncertainty is over tasks.

All intervals are of a median. No interval of a mean covers 93 to 97 % at 6 to 60 tasks for both normal and lognormal
values (docs/reference/analysis.md), so means have none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mossa.names import count

Floats = NDArray[np.float64]

FEWEST = 6  # the smallest sample in which the range of the values holds the median with 95 %
LEVEL = 0.05


class Interval(NamedTuple):
    """An interval; both ends are NaN where there are too few values for one."""

    low: float
    high: float


NO_INTERVAL = Interval(float("nan"), float("nan"))


def interval(values: Floats, confidence: float = 0.95) -> Interval:
    """Return the interval of the median of finite `values` `[T]` that the sign test gives, whatever their distribution.

    Its ends lie between two order statistics, interpolated to reach the confidence (Hettmansperger and Sheather 1986).
    NaN where even the range of the values does not reach it: below 6 values at 95 %.
    """
    T = len(values)
    k, weight = _ends(T, confidence)
    if k == 0:
        return NO_INTERVAL
    ordered = np.sort(values)
    low = (1 - weight) * ordered[k - 1] + weight * ordered[k]
    high = (1 - weight) * ordered[T - k] + weight * ordered[T - k - 1]
    return Interval(float(low), float(high))


@lru_cache
def _ends(T: int, confidence: float) -> tuple[int, float]:
    """Return k and a weight: the interval ends between the k-th order statistic and the next; 0 if there is none."""
    # confidence of the interval from the k-th value from below to the k-th from above
    reached = 1 - 2 * stats.binom.cdf(np.arange(T // 2 + 1), T, 0.5)
    k = int(np.sum(reached >= confidence))
    if k == 0:
        return 0, 0.0
    part = (reached[k - 1] - confidence) / (reached[k - 1] - reached[k])
    return k, float((T - k) * part / (k + (T - 2 * k) * part))


def shift(ours: Floats, others: Floats) -> tuple[float, Interval, float]:
    """Return how far `ours` lie above `others`: the median of all differences, its interval, and Mann-Whitney's p.

    The interval holds the shifts that the test does not reject (Hodges and Lehmann 1963); NaN where one side has fewer
    than 6 values.
    """
    differences = np.sort(np.subtract.outer(ours, others), axis=None)
    n, m = len(ours), len(others)
    if min(n, m) < FEWEST:
        return float(np.median(differences)), NO_INTERVAL, float("nan")
    error = np.sqrt(n * m * (n + m + 1) / 12)
    k = max(int(np.floor(n * m / 2 - stats.norm.ppf(1 - LEVEL / 2) * error)), 1)
    p_value = float(stats.mannwhitneyu(ours, others).pvalue)
    return float(np.median(differences)), Interval(float(differences[k - 1]), float(differences[-k])), p_value


def wilcoxon(differences: Floats) -> tuple[float, str | None]:
    """Return the two-sided p value of Wilcoxon's signed-rank test over tasks, or NaN and the reason."""
    if len(differences) < FEWEST:
        return float("nan"), f"{count(len(differences), 'task')}; the signed-rank test needs {FEWEST} to reach p < .05"
    if not differences.any():
        return float("nan"), "every difference is zero"
    return float(np.asarray(stats.wilcoxon(differences))[1]), None


def adjust(p_values: pd.Series, method: str = "fdr_bh") -> pd.Series:
    """Return the p values that exist, adjusted for their number (default: Benjamini-Hochberg); null stays null."""
    found = p_values.dropna().astype(float)
    q = pd.Series(np.nan, index=p_values.index)
    if len(found):
        q.loc[found.index] = multipletests(found.to_numpy(), method=method)[1]
    return q


def adjusted(table: pd.DataFrame, family: list[str], *columns: str) -> pd.DataFrame:
    """Fill each of `columns`, such as `q_value`, from its p values, one family of tests per group."""
    for column in columns if len(table) else ():
        table[column] = table.groupby(family)[column.replace("q_value", "p_value")].transform(adjust)
    return table
