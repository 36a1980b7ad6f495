"""Distribution over tasks of the similarity to the controls, per layer and model (figures 2, 3 and 7)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mossa.analysis.curves import populations
from mossa.analysis.over_tasks import interval

STATISTICS = [
    "tasks",
    "undefined",
    "median",
    "low",
    "high",
    "q1",
    "q3",
    "whisker_low",
    "whisker_high",
    "minimum",
    "maximum",
    "mean",
    "reason",
]
COLUMNS = ["experimental", "relation", "population", "split_by", "layer", "estimator", *STATISTICS]
CLUSTER_COLUMNS = ["experimental", "relation", "cluster", "layer", "estimator", *STATISTICS]


def describe(values: pd.Series) -> dict[str, object]:
    """Return the box plot of `values` over tasks; `low` and `high` are the interval of the median.

    Whiskers reach the furthest value within 1.5 interquartile ranges of the box, as in the paper's figures.
    """
    every = values.to_numpy(float)
    found = np.sort(every[~np.isnan(every)])
    row: dict[str, object] = {"tasks": len(found), "undefined": len(every) - len(found), "reason": None}
    if not len(found):
        return row | {"reason": "no task has a defined value here"}
    q1, median, q3 = np.quantile(found, [0.25, 0.5, 0.75])
    inside = found[(found >= q1 - 1.5 * (q3 - q1)) & (found <= q3 + 1.5 * (q3 - q1))]
    low, high = interval(found)
    return row | {
        "median": median,
        "low": low,
        "high": high,
        "q1": q1,
        "q3": q3,
        "whisker_low": inside[0],
        "whisker_high": inside[-1],
        "minimum": found[0],
        "maximum": found[-1],
        "mean": found.mean(),
    }


def distribution(curves: pd.DataFrame) -> pd.DataFrame:
    """Return one box per (experimental, relation, population, layer, estimator); see `COLUMNS`.

    `population` is `all` tasks, and for every model `split_by` that held tasks out also its `seen` and `held_out`
    tasks, for all models on the same tasks, so that figure 7 can lay the base beside it.
    """
    tables = [_boxes(curves, ["experimental", "relation", "layer", "estimator"]).assign(population="all")]
    for experimental in curves["experimental"].unique():
        for population, tasks in populations(curves, experimental).items():
            if population != "all":
                part = _boxes(curves[curves["task"].isin(tasks)], ["experimental", "relation", "layer", "estimator"])
                tables.append(part.assign(population=population, split_by=experimental))
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS)


def cluster_distribution(curves: pd.DataFrame) -> pd.DataFrame:
    """Return one box per (experimental, relation, cluster, layer, estimator); see `CLUSTER_COLUMNS`."""
    return _boxes(curves, ["experimental", "relation", "cluster", "layer", "estimator"]).reindex(
        columns=CLUSTER_COLUMNS
    )


def _boxes(curves: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    rows = [dict(zip(by, key, strict=True)) | describe(group["value"]) for key, group in curves.groupby(by)]
    return pd.DataFrame(rows, columns=[*by, *STATISTICS])
