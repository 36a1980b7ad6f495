"""Is the advice any good: training the advised layers against training as many others, on tasks the map never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mossa.analysis.over_tasks import NO_INTERVAL, Floats, Interval

MINIMUM_TASKS = 3
RESAMPLES = 1000
ADVISED, RANDOM = "advised", "random"
RIVALS = (RANDOM, "all", "first", "last")
MEASURES = ("loss", "accuracy")
ARM_COLUMNS = ["arm", "tasks", "seeds", *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high"))]
AGAINST_COLUMNS = [
    "arm",
    "measure",
    "tasks",
    "seeds",
    "left_out",
    "difference",
    "low",
    "high",
    "better",
    "worse",
    "pairs",
    "same",
]


def nested_interval(values: Floats) -> Interval:
    """Return the 95 % interval of the mean of `[T, seeds]`, resampling tasks and, within each drawn task, its seeds."""
    T, seeds = values.shape
    if T < MINIMUM_TASKS:
        return NO_INTERVAL
    rng = np.random.default_rng(0)
    tasks = rng.integers(0, T, size=(RESAMPLES, T, 1))
    means = values[tasks, rng.integers(0, seeds, size=(RESAMPLES, T, seeds))].mean(axis=(1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def arms(trainings: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every arm over tasks and seeds with its 95 % interval; see `ARM_COLUMNS`.

    `trainings` has one row per (arm, task, seed) with `loss` (nats per target token) and `accuracy` on the test set.
    """
    rows: list[dict[str, object]] = []
    for arm, part in trainings.groupby("arm", sort=False):
        row: dict[str, object] = {"arm": arm}
        for measure in MEASURES:
            values = _by_seed(part, measure).dropna()
            low, high = nested_interval(values.to_numpy(float))
            row |= {"tasks": values.shape[0], "seeds": values.shape[1]}
            row |= {measure: values.to_numpy().mean() if values.size else None}
            row |= {f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=ARM_COLUMNS)


def against(trainings: pd.DataFrame, same: Sequence[str] = ()) -> pd.DataFrame:
    """Return advised minus every rival, paired by task and seed, in loss and in accuracy; see `AGAINST_COLUMNS`.

    Mean over tasks and seeds with a 95 % interval that resamples tasks, and seeds within them. `better` and `worse`
    count pairs in favour of the advice and against it. A task that lacks a training in either arm is `left_out`.
    `same` names rivals that train the advised layers themselves: their row says so and holds no number.
    """
    rows: list[dict[str, object]] = []
    advised = trainings[trainings["arm"] == ADVISED]
    for rival in (name for name in RIVALS if name in {*trainings["arm"], *same}):
        other = trainings[trainings["arm"] == rival]
        for measure in MEASURES:
            row: dict[str, object] = {"arm": rival, "measure": measure, "same": rival in same}
            if rival not in same:
                values = _by_seed(advised, measure).sub(_by_seed(other, measure))
                row |= _compared(values.dropna(), len(values), gain=-1 if measure == "loss" else 1)
            rows.append(row)
    return pd.DataFrame(rows, columns=AGAINST_COLUMNS)


def verdict(row: pd.Series) -> str:
    """Return `better`, `worse`, `not shown` or `cannot be said` for one row of `against`: what its interval allows."""
    if pd.isna(row["low"]):
        return "cannot be said"
    gain = -1 if row["measure"] == "loss" else 1
    worst, best = sorted((gain * row["low"], gain * row["high"]))
    return "better" if worst > 0 else "worse" if best < 0 else "not shown"


def _compared(values: pd.DataFrame, tasks: int, gain: int) -> dict[str, object]:
    found: Floats = values.to_numpy(float)
    low, high = nested_interval(found)
    return {
        "tasks": found.shape[0],
        "seeds": found.shape[1],
        "left_out": tasks - found.shape[0],
        "difference": found.mean() if found.size else None,
        "low": low,
        "high": high,
        "better": int((gain * found > 0).sum()),
        "worse": int((gain * found < 0).sum()),
        "pairs": found.size,
    }


def _by_seed(part: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return `measure` as `[T, seeds]`, null where it is missing."""
    return part.pivot(index="task", columns="seed", values=measure).astype(float)
