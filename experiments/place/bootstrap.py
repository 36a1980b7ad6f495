"""95 % bootstrap intervals of the trial: tasks, models or clusters are drawn again with replacement."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000


def interval(n: int, statistic: Callable[[NDArray[np.int64]], float]) -> tuple[float, float]:
    """Return the interval of `statistic`, a function of n drawn indices; draws where it is NaN are left out."""
    drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    found = np.array([statistic(indices) for indices in drawn])
    low, high = np.quantile(found[~np.isnan(found)], [0.025, 0.975])
    return float(low), float(high)


def mean_words(values: Sequence[float] | Floats) -> str:
    """Return `mean [low, high]`, and nothing for no values."""
    return group_mean_words([[value] for value in values])


def group_mean_words(groups: Sequence[Sequence[float]]) -> str:
    """Return the mean over all values as `mean [low, high]`; whole groups are drawn, which hold values that depend."""
    if not groups:
        return ""
    parts = [np.asarray(group, dtype=float) for group in groups]
    low, high = interval(len(parts), lambda drawn: float(np.mean(np.concatenate([parts[i] for i in drawn]))))
    return words(float(np.mean(np.concatenate(parts))), low, high)


def words(value: float, low: float, high: float) -> str:
    """Return a value with its interval, as the tables of the trial show it."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
