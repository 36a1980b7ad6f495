"""What tuning changed (RQ2), also for tasks it never saw (RQ3): paired differences and their tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.controls import failed
from mossa.analysis.curves import NO_CLUSTER, curve, populations
from mossa.analysis.over_tasks import LEVEL, Floats, adjusted, interval, wilcoxon

COLUMNS = [
    "experimental", "population", "layer", "estimator", "tasks", "undefined", "closer", "median", "low", "high",
    "widest_low", "widest_high", "p_value", "q_value", "clusters", "cluster_low", "cluster_high", "cluster_p_value",
    "cluster_q_value", "reason",
]  # fmt: skip
CLUSTER_COLUMNS = [
    "experimental", "cluster", "estimator", "tasks", "undefined", "closer", "median", "low", "high", "smallest",
    "largest",
]  # fmt: skip
TASK_COLUMNS = [
    "experimental", "task", "cluster", "held_out", "layer", "estimator", "difference", "standard_error", "low",
    "high", "p_value", "q_value", "learned", "reason",
]  # fmt: skip

TUNED = "tuned"
HELD_OUT = "held out of "
COMMON_COLUMNS = ["group", *(name for name in COLUMNS if name != "population")]


def paired_differences(curves: pd.DataFrame, experimental: str, baseline: str, estimator: str) -> pd.DataFrame:
    """Return a model minus the base against the same controls, `[T, L]`; null where one side is undefined or the two
    were averaged over different controls.
    """
    same = curve(curves, experimental, estimator, column="references").eq(
        curve(curves, baseline, estimator, column="references")
    )
    return (curve(curves, experimental, estimator) - curve(curves, baseline, estimator)).where(same)


def change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, population, layer, estimator), the paired difference over tasks; see `COLUMNS`.

    `median` with its interval `low`, `high`, and `widest_low`, `widest_high`, which hold for all layers at once
    (Bonferroni), so also for the layer with the largest median; `closer` counts tasks with a positive difference.
    `p_value` is Wilcoxon's signed-rank test over tasks (two-sided), null with a `reason` below 6 tasks or where every
    difference is zero. `cluster_*` are the same for the means of the `clusters`, because tasks of one cluster are not
    independent. `q_value` and `cluster_q_value` are Benjamini-Hochberg over the layers of one model, population and
    estimator.
    """
    cluster = cluster_of(curves)
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        for population, members in populations(curves, experimental).items():
            part = differences[differences.index.isin(members)]
            confidence = 1 - LEVEL / max(part.shape[1], 1)
            for layer in part:
                found = part[layer].dropna()
                head: dict[str, object] = {"experimental": experimental, "population": population}
                head |= {"layer": layer, "estimator": estimator}
                row = over_tasks(found.to_numpy(float)) | {"undefined": len(part) - len(found)}
                row["widest_low"], row["widest_high"] = interval(found.to_numpy(float), confidence)
                of_clusters = over_tasks(found.groupby(cluster.reindex(found.index)).mean().to_numpy(float))
                row["clusters"] = of_clusters["tasks"]
                row |= {f"cluster_{name}": of_clusters[name] for name in ("low", "high", "p_value")}
                rows.append(head | row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return adjusted(table, ["experimental", "population", "estimator"], "q_value", "cluster_q_value")


def over_tasks(found: Floats) -> dict[str, object]:
    """Return the statistics of differences over tasks `[T]`: number, median, interval and test."""
    p_value, reason = wilcoxon(found)
    row: dict[str, object] = {"tasks": len(found), "closer": int((found > 0).sum()), "p_value": p_value}
    row |= {"median": np.median(found) if len(found) else np.nan, "reason": reason}
    return row | interval(found)._asdict()


def cluster_of(curves: pd.DataFrame) -> pd.Series:
    """Return the cluster of every task; a task without one forms its own cluster."""
    cluster = curves.drop_duplicates("task").set_index("task")["cluster"]
    return cluster.where(cluster != NO_CLUSTER, cluster.index.to_series())


def cluster_change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, cluster, estimator), each task's mean difference over layers; see `CLUSTER_COLUMNS`.

    `median` over tasks with its interval (null below 6 tasks), the `smallest` and the `largest` task.
    """
    cluster = curves.drop_duplicates("task").set_index("task")["cluster"]
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        for name, part in differences.mean(axis=1).groupby(cluster.reindex(differences.index)):
            found = part.dropna().to_numpy(float)
            row: dict[str, object] = {"experimental": experimental, "cluster": str(name), "estimator": estimator}
            if len(found):
                row |= {"smallest": found.min(), "largest": found.max()}
            rows.append(row | over_tasks(found) | {"undefined": len(part) - len(found)})
    return pd.DataFrame(rows, columns=CLUSTER_COLUMNS)


def task_change(difference: pd.DataFrame, controls: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """Return the `difference` table with a two-sided normal test per row; see `TASK_COLUMNS`.

    `learned` says whether the experimental model learned the task (null where that is not known).

    `q_value` is Benjamini-Hochberg over all tasks and layers of one model and estimator. A task with a control that
    did not learn keeps its rows, with null values and the `reason`.
    """
    table = difference.reindex(columns=TASK_COLUMNS).copy()
    z = table["difference"].abs() / table["standard_error"].where(table["standard_error"] > 0)
    table["p_value"] = 2 * stats.norm.sf(z.to_numpy(float))
    learned = tuned[["model", "task", "learned"]].rename(columns={"model": "experimental"})
    table["learned"] = table[["experimental", "task"]].merge(learned, how="left")["learned"].to_numpy()
    poor = table["task"].isin(controls.loc[failed(controls), "task"])
    table.loc[poor, ["difference", "standard_error", "low", "high", "p_value"]] = np.nan
    table["reason"] = table["reason"].astype("object").where(~poor, "a control of this task did not learn it")
    return adjusted(table, ["experimental", "estimator"], "q_value")


def comparisons(curves: pd.DataFrame, baseline: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield (experimental, estimator, paired differences `[T, L]`) for every model and estimator the base shares."""
    own = curves[curves["relation"] == "control"]
    of_base = set(own.loc[own["experimental"] == baseline, "estimator"])
    pairs = own[["experimental", "estimator"]].drop_duplicates()
    for experimental, estimator in pairs.itertuples(index=False, name=None):
        if experimental != baseline and estimator in of_base:
            yield experimental, estimator, paired_differences(curves, experimental, baseline, estimator)


def common_tasks(curves: pd.DataFrame, baseline: str) -> dict[str, list[str]]:
    """Return the tasks of every group: `tuned` (all tuned models saw them), and those held out of one or more models.

    Medians over different tasks cannot be compared, so each group holds one set of tasks for every model.
    """
    own = curves[(curves["relation"] == "control") & (curves["experimental"] != baseline)]
    models = list(own["experimental"].unique())
    parts = {model: populations(curves, model) for model in models}
    seen = [set(part.get("seen", [] if "held_out" in part else part["all"])) for part in parts.values()]
    found = {TUNED: sorted(set.intersection(*seen))} if seen else {}
    for model, part in parts.items():
        tasks = sorted(part.get("held_out", []))
        same = next((name for name, others in found.items() if name != TUNED and others == tasks), None)
        if same:
            found[f"{same} and {model}"] = found.pop(same)
        elif tasks:
            found[f"{HELD_OUT}{model}"] = tasks
    return {name: tasks for name, tasks in found.items() if tasks}


def common_change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the paired differences of every model on the same tasks, group by group; see `COMMON_COLUMNS`."""
    tables = [
        change(curves[curves["task"].isin(tasks)].assign(held_out=False), baseline).assign(group=name)
        for name, tasks in common_tasks(curves, baseline).items()
    ]
    return pd.concat(tables, ignore_index=True)[COMMON_COLUMNS] if tables else pd.DataFrame(columns=COMMON_COLUMNS)
