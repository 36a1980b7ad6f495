"""What instruction tuning changed (RQ2), and for tasks it never saw (RQ3): paired differences and their tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.bootstrap import interval
from mossa.analysis.curves import curve, populations
from mossa.analysis.significance import adjusted, wilcoxon

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
CLUSTER_COLUMNS = [
    "experimental",
    "cluster",
    "estimator",
    "tasks",
    "undefined",
    "closer",
    "mean",
    "low",
    "high",
    "smallest",
    "largest",
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
    """Return E minus base against the same controls, `[T, L]`; null where one is undefined or has more controls."""
    same = curve(curves, experimental, estimator, column="references").eq(
        curve(curves, baseline, estimator, column="references")
    )
    return (curve(curves, experimental, estimator) - curve(curves, baseline, estimator)).where(same)


def change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, population, layer, estimator), the paired difference over tasks; see `COLUMNS`.

    `median` with its bootstrap interval `low`, `high`; `closer` counts tasks with a positive difference; `p_value`
    is Wilcoxon's signed-rank test over tasks (two-sided), null with a `reason` below 6 tasks or where every
    difference is zero; `q_value` is Benjamini-Hochberg over the layers of one model, population and estimator.
    """
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        for population, members in populations(curves, experimental).items():
            part = differences[differences.index.isin(members)]
            for layer in part:
                found = part[layer].dropna().to_numpy(float)
                p_value, reason = wilcoxon(found)
                low, high = interval(found)
                rows.append(
                    {
                        "experimental": experimental,
                        "population": population,
                        "layer": layer,
                        "estimator": estimator,
                        "tasks": len(found),
                        "undefined": len(part) - len(found),
                        "closer": int((found > 0).sum()),
                        "median": np.median(found) if len(found) else np.nan,
                        "low": low,
                        "high": high,
                        "p_value": p_value,
                        "reason": reason,
                    }
                )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return adjusted(table, "p_value", "q_value", ["experimental", "population", "estimator"])


def cluster_change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, cluster, estimator), each task's mean difference over layers; see `CLUSTER_COLUMNS`.

    `mean` over tasks with its bootstrap interval (null below 3 tasks), the `smallest` and the `largest` task.
    """
    cluster = curves.drop_duplicates("task").set_index("task")["cluster"]
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        for name, part in differences.mean(axis=1).groupby(cluster.reindex(differences.index)):
            found = part.dropna().to_numpy(float)
            row: dict[str, object] = {"experimental": experimental, "cluster": str(name), "estimator": estimator}
            row |= {"tasks": len(found), "undefined": len(part) - len(found), "closer": int((found > 0).sum())}
            if len(found):
                row |= {"mean": found.mean(), "smallest": found.min(), "largest": found.max()}
            rows.append(row | dict(zip(("low", "high"), interval(found, np.mean), strict=True)))
    return pd.DataFrame(rows, columns=CLUSTER_COLUMNS)


def task_change(difference: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Return the `difference` table with a two-sided normal test per row; see `TASK_COLUMNS`.

    `q_value` is Benjamini-Hochberg over all tasks and layers of one model and estimator. A task with a control that
    did not learn keeps its rows, with null values and the `reason`.
    """
    table = difference.reindex(columns=TASK_COLUMNS).copy()
    z = table["difference"].abs() / table["standard_error"].where(table["standard_error"] > 0)
    table["p_value"] = 2 * stats.norm.sf(z.to_numpy(float))
    failed = table["task"].isin(controls.loc[controls["learned"].eq(False).fillna(False), "task"])
    table.loc[failed, ["difference", "standard_error", "low", "high", "p_value"]] = np.nan
    table["reason"] = table["reason"].astype("object").where(~failed, "a control of this task did not learn it")
    return adjusted(table, "p_value", "q_value", ["experimental", "estimator"])


def comparisons(curves: pd.DataFrame, baseline: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield (experimental, estimator, paired differences `[T, L]`) for every model and estimator the base shares."""
    own = curves[curves["relation"] == "control"]
    of_base = set(own.loc[own["experimental"] == baseline, "estimator"])
    pairs = own[["experimental", "estimator"]].drop_duplicates()
    for experimental, estimator in pairs.itertuples(index=False, name=None):
        if experimental != baseline and estimator in of_base:
            yield experimental, estimator, paired_differences(curves, experimental, baseline, estimator)
