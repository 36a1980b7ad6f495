"""How often 95 % intervals over tasks hold the true value, and how often tests over tasks are wrong.

docs/reference/analysis.md has its tables: `python benchmarks/intervals.py`. Values over tasks are normal or
lognormal (sigma 1). The intervals: of a median, by the bootstrap (percentile) and by the sign test (what mossa gives);
of a mean, by Student's t and by the bootstrap t. The tests: Wilcoxon's over tasks that share a cluster effect, against
the same over cluster means.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mossa.analysis.over_tasks import interval, shift, wilcoxon

Values = NDArray[np.float64]
RESAMPLES = 1000


@cache
def resample(T: int) -> NDArray[np.int64]:
    """Return indices `[resamples, T]` drawn with replacement."""
    return np.random.default_rng(0).integers(0, T, size=(RESAMPLES, T))


def percentile(values: Values) -> Values:
    """Return the percentile bootstrap interval of the median."""
    return np.quantile(np.median(values[resample(len(values))], axis=1), [0.025, 0.975])


def student(values: Values) -> Values:
    """Return Student's interval of the mean."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return np.array([values.mean() - half, values.mean() + half])


def bootstrap_t(values: Values) -> Values:
    """Return the studentised bootstrap interval of the mean."""
    drawn = values[resample(len(values))]
    spread = drawn.std(axis=1, ddof=1)
    drawn, spread = drawn[spread > 0], spread[spread > 0]
    low, high = np.quantile((drawn.mean(axis=1) - values.mean()) / spread, [0.025, 0.975])
    return values.mean() - values.std(ddof=1) * np.array([high, low])


def drawn(kind: str, T: int, seed: int) -> Values:
    """Return T values whose median is 0 (normal) or 1 (lognormal)."""
    values = np.random.default_rng(seed).normal(size=T)
    return np.exp(values) if kind == "lognormal" else values


METHODS: dict[str, tuple[str, Callable[[Values], object]]] = {
    "median, bootstrap (before)": ("median", percentile),
    "median, sign test (after)": ("median", interval),
    "mean, Student": ("mean", student),
    "mean, bootstrap t": ("mean", bootstrap_t),
}
TRUTH = {
    ("normal", "median"): 0.0,
    ("normal", "mean"): 0.0,
    ("lognormal", "median"): 1.0,
    ("lognormal", "mean"): np.e**0.5,
}


def coverage(method: str, kind: str, T: int, draws: int) -> float:
    """Return the share of draws in which the interval holds the truth; NaN where there is no interval."""
    of, find = METHODS[method]
    ends = np.array([find(drawn(kind, T, seed)) for seed in range(draws)], dtype=float)
    held = (ends[:, 0] <= TRUTH[kind, of]) & (TRUTH[kind, of] <= ends[:, 1])
    return float("nan") if np.isnan(ends).any() else float(held.mean())


def shift_coverage(kind: str, n: int, m: int, draws: int) -> float:
    """Return how often the interval of the shift between two groups of one shape holds it."""
    held = 0
    for seed in range(draws):
        low, high = shift(drawn(kind, n, 2 * seed) + 0.5, drawn(kind, m, 2 * seed + 1))[1]
        held += low <= 0.5 <= high
    return held / draws


def wrong(clusters: int, each: int, icc: float, draws: int) -> tuple[float, float, float]:
    """Return how often p < .05 without an effect: over tasks, and over cluster means; and the latter's coverage."""
    over_tasks = over_clusters = held = 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        values = np.sqrt(icc) * rng.normal(size=(clusters, 1)) + np.sqrt(1 - icc) * rng.normal(size=(clusters, each))
        over_tasks += wilcoxon(values.ravel())[0] < 0.05
        means = values.mean(axis=1)
        over_clusters += wilcoxon(means)[0] < 0.05
        low, high = interval(means)
        held += low <= 0 <= high
    return over_tasks / draws, over_clusters / draws, held / draws


def main() -> None:
    """Print one line per method and number of tasks, then those of clusters."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--draws", type=int, default=2000)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    rows: list[dict[str, object]] = []
    for T in (3, 4, 5, 6, 8, 12, 24, 60):
        for method in METHODS:
            row = {kind: coverage(method, kind, T, given.draws) for kind in ("normal", "lognormal")}
            rows.append({"method": method, "tasks": T, **row})
            print(rows[-1], flush=True)
    for n, m in ((6, 6), (6, 18), (8, 16), (12, 48)):
        row = {kind: shift_coverage(kind, n, m, given.draws) for kind in ("normal", "lognormal")}
        rows.append({"method": "shift, Hodges-Lehmann", "tasks": f"{n} and {m}", **row})
        print(rows[-1], flush=True)
    for clusters, each in ((6, 4), (12, 2), (12, 5)):
        for icc in (0.0, 0.5):
            found = dict(
                zip(("over_tasks", "over_clusters", "coverage"), wrong(clusters, each, icc, given.draws), strict=True)
            )
            rows.append({"clusters": clusters, "tasks_each": each, "icc": icc, **found})
            print(rows[-1], flush=True)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
