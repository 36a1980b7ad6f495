"""One value per model, task and layer, and how these are distributed over tasks (figures 2, 3 and 7)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mossa.analysis.controls import failed
from mossa.analysis.over_tasks import interval

NO_CLUSTER = "(no cluster)"  # what `tables.table` writes for a task that has none
KEY = ["experimental", "relation", "task", "cluster", "layer", "estimator"]

NUMBERS = ["value", "standard_error", "low", "high"]
COLUMNS = [*KEY, "held_out", *NUMBERS, "references", "left_out", "n", "d", "reason"]

STATISTICS = [
    "tasks", "undefined", "median", "low", "high", "q1", "q3", "whisker_low", "whisker_high", "minimum", "maximum",
    "mean", "reason",
]  # fmt: skip
BOX_COLUMNS = ["experimental", "relation", "population", "split_by", "layer", "estimator", *STATISTICS]
CLUSTER_COLUMNS = ["experimental", "relation", "cluster", "layer", "estimator", *STATISTICS]


def average_references(similarity: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (experimental, relation, task, layer, estimator), averaged over the references.

    `references` counts those averaged, `left_out` those whose control did not learn the task (for the agreement of two
    controls: if any control of the task did not). `standard_error` is the mean over references, an upper bound whatever
    their correlation. `value` is null, with a `reason`, where nothing is left.
    """
    poor = controls[failed(controls)]
    of_task = similarity["relation"].eq("ceiling") & similarity["task"].isin(poor["task"])
    out = similarity["reference"].isin(poor["reference"]) | of_task
    rows = similarity.assign(out=out, undefined=similarity["reason"].where(similarity["value"].isna()).where(~out))
    rows["defined"] = rows["value"].notna() & ~out
    rows.loc[~rows["defined"], NUMBERS] = np.nan
    how = dict.fromkeys(NUMBERS, "mean") | {"defined": "sum", "out": "sum"}
    how |= dict.fromkeys(("held_out", "n", "d", "undefined"), "first")
    table = rows.groupby(KEY, sort=False, dropna=False).agg(how).reset_index()
    table = table.rename(columns={"defined": "references", "out": "left_out", "undefined": "reason"})
    null = table["value"].isna()
    learned_not = null & table["left_out"].gt(0) & table["reason"].isna()
    table["reason"] = table["reason"].where(null, None).astype("object")
    table.loc[learned_not, "reason"] = "no control compared here learned its task"
    table.loc[null & table["reason"].isna(), "reason"] = "undefined, no reason given"
    return table[COLUMNS]


def curve(
    curves: pd.DataFrame, experimental: str, estimator: str, relation: str = "control", column: str = "value"
) -> pd.DataFrame:
    """Return `column` as `[T, L]`: a row per task, a column per layer, null where undefined."""
    chosen = curves[
        (curves["experimental"] == experimental) & (curves["estimator"] == estimator) & (curves["relation"] == relation)
    ]
    return chosen.pivot(index="task", columns="layer", values=column).astype(float)


def populations(curves: pd.DataFrame, experimental: str) -> dict[str, list[str]]:
    """Return the tasks of one experimental model: `all`, and `seen` and `held_out` where any was held out."""
    own = curves[(curves["experimental"] == experimental) & (curves["relation"] == "control")]
    tasks = own.drop_duplicates("task").set_index("task")["held_out"].astype(bool)
    found = {"all": list(tasks.index)}
    if tasks.any():
        found["held_out"] = list(tasks.index[tasks])
        found["seen"] = list(tasks.index[~tasks])
    return {name: members for name, members in found.items() if members}


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
    row |= {"median": median, "q1": q1, "q3": q3, "whisker_low": inside[0], "whisker_high": inside[-1]}
    row |= {"minimum": found[0], "maximum": found[-1], "mean": found.mean()}
    return row | interval(found)._asdict()


def distribution(curves: pd.DataFrame) -> pd.DataFrame:
    """Return one box per (experimental, relation, population, layer, estimator); see `BOX_COLUMNS`.

    `population` is `all` tasks, and for every model `split_by` that held tasks out also its `seen` and `held_out`
    tasks, for all models on the same tasks, so that figure 7 can compare the base with it.
    """
    by = ["experimental", "relation", "layer", "estimator"]
    tables = [_boxes(curves, by).assign(population="all")]
    for experimental in curves["experimental"].unique():
        for population, tasks in populations(curves, experimental).items():
            if population != "all":
                part = _boxes(curves[curves["task"].isin(tasks)], by)
                tables.append(part.assign(population=population, split_by=experimental))
    return pd.concat(tables, ignore_index=True).reindex(columns=BOX_COLUMNS)


def cluster_distribution(curves: pd.DataFrame) -> pd.DataFrame:
    """Return one box per (experimental, relation, cluster, layer, estimator); see `CLUSTER_COLUMNS`."""
    by = ["experimental", "relation", "cluster", "layer", "estimator"]
    return _boxes(curves, by).reindex(columns=CLUSTER_COLUMNS)


def _boxes(curves: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    rows = [dict(zip(by, key, strict=True)) | describe(group["value"]) for key, group in curves.groupby(by)]
    return pd.DataFrame(rows, columns=[*by, *STATISTICS])
