"""Percentile intervals from resampling tasks: the tasks are the sample, so they carry the uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000
MINIMUM_TASKS = 3


class Interval(NamedTuple):
    """A 95 % interval; both ends are NaN where there are fewer than `MINIMUM_TASKS` values."""

    low: float
    high: float


@cache
def resample(T: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """Return indices `[resamples, T]` drawn with replacement; the same call gives the same indices."""
    return np.random.default_rng(seed).integers(0, T, size=(resamples, T))


def interval(values: Floats, statistic: Callable[..., Floats] = np.median) -> Interval:
    """Return the 95 % percentile bootstrap interval of `statistic` over finite `values` `[T]`."""
    if len(values) < MINIMUM_TASKS:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(statistic(values[resample(len(values))], axis=1), [0.025, 0.975])
    return Interval(float(low), float(high))


def nested_interval(values: Floats) -> Interval:
    """Return the 95 % interval of the mean of `[T, seeds]`, resampling tasks and, within each drawn task, its seeds."""
    T, seeds = values.shape
    if T < MINIMUM_TASKS:
        return Interval(float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    tasks = rng.integers(0, T, size=(RESAMPLES, T, 1))
    means = values[tasks, rng.integers(0, seeds, size=(RESAMPLES, T, seeds))].mean(axis=(1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))
