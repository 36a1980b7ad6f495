"""What instruction tuning changed (RQ2), and for tasks it never saw (RQ3): paired differences and their tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.bootstrap import MINIMUM_TASKS, Floats, interval, resample
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
    """Return E minus base against the same controls, `[T, L]`; null where either is undefined or has other controls."""
    same = curve(curves, experimental, estimator, column="references").eq(
        curve(curves, baseline, estimator, column="references")
    )
    return (curve(curves, experimental, estimator) - curve(curves, baseline, estimator)).where(same)


def adjust(p_values: pd.Series) -> pd.Series:
    """Return Benjamini-Hochberg q values of the p values that exist; null stays null."""
    found = p_values.dropna().astype(float)
    q = pd.Series(np.nan, index=p_values.index)
    if len(found):
        q.loc[found.index] = stats.false_discovery_control(found.to_numpy())
    return q


def wilcoxon(differences: Floats) -> tuple[float, str | None]:
    """Return the two-sided p value of Wilcoxon's signed-rank test over tasks, or NaN and the reason."""
    if len(differences) < FEWEST_TASKS:
        return float("nan"), f"{len(differences)} tasks; the signed-rank test needs {FEWEST_TASKS} to reach p < .05"
    if not differences.any():
        return float("nan"), "every difference is zero"
    return float(stats.wilcoxon(differences).pvalue), None


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
    return _adjusted(table, "p_value", "q_value", ["experimental", "population", "estimator"])


def cluster_change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, cluster, estimator), each task's mean difference over layers; see `CLUSTER_COLUMNS`.

    `mean` over tasks with its bootstrap interval (null below 3 tasks), the `smallest` and the `largest` task.
    """
    cluster = curves.drop_duplicates("task").set_index("task")["cluster"]
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        for name, part in differences.mean(axis=1).groupby(cluster.reindex(differences.index)):
            found = part.dropna().to_numpy(float)
            row: dict[str, object] = {"experimental": experimental, "cluster": name, "estimator": estimator}
            row |= {"tasks": len(found), "undefined": len(part) - len(found), "closer": int((found > 0).sum())}
            if len(found):
                row |= {"mean": found.mean(), "smallest": found.min(), "largest": found.max()}
            rows.append(row | dict(zip(("low", "high"), interval(found, np.mean), strict=True)))
    return pd.DataFrame(rows, columns=CLUSTER_COLUMNS)


def unseen(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, layer, estimator), the held-out tasks beside the seen ones; see `UNSEEN_COLUMNS`.

    `gap` is the median difference of the held-out minus that of the seen tasks, with a bootstrap interval over
    both; `gap_p_value` is the Mann-Whitney test between them. Empty where nothing was held out.
    """
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        groups = populations(curves, experimental)
        held_out = differences[differences.index.isin(groups.get("held_out", []))]
        seen = differences[differences.index.isin(groups.get("seen", []))]
        for layer in held_out:
            head = {"experimental": experimental, "layer": layer, "estimator": estimator}
            ours, others = (part[layer].dropna().to_numpy(float) for part in (held_out, seen))
            rows.append(head | _unseen_row(ours, others))
    table = pd.DataFrame(rows, columns=UNSEEN_COLUMNS)
    table = _adjusted(table, "p_value", "q_value", ["experimental", "estimator"])
    return _adjusted(table, "gap_p_value", "gap_q_value", ["experimental", "estimator"])


def _unseen_row(ours: Floats, others: Floats) -> dict[str, object]:
    p_value, reason = wilcoxon(ours)
    low, high = interval(ours)
    row: dict[str, object] = {
        "tasks": len(ours),
        "seen_tasks": len(others),
        "median": np.median(ours) if len(ours) else np.nan,
        "low": low,
        "high": high,
        "p_value": p_value,
        "reason": reason,
    }
    if not len(ours) or not len(others):
        return row
    row |= {"seen_median": np.median(others), "gap": np.median(ours) - np.median(others)}
    if min(len(ours), len(others)) >= MINIMUM_TASKS:
        gaps = np.median(ours[resample(len(ours))], axis=1) - np.median(others[resample(len(others), seed=1)], axis=1)
        gap_low, gap_high = np.quantile(gaps, [0.025, 0.975])
        p = float(stats.mannwhitneyu(ours, others).pvalue)
        row |= {"gap_low": gap_low, "gap_high": gap_high, "gap_p_value": p}
    return row


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
    return _adjusted(table, "p_value", "q_value", ["experimental", "estimator"])


def comparisons(curves: pd.DataFrame, baseline: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield (experimental, estimator, paired differences `[T, L]`) for every model and estimator the base shares."""
    own = curves[curves["relation"] == "control"]
    of_base = set(own.loc[own["experimental"] == baseline, "estimator"])
    for (experimental, estimator), _ in own.groupby(["experimental", "estimator"], sort=False):
        if experimental != baseline and estimator in of_base:
            yield experimental, estimator, paired_differences(curves, experimental, baseline, estimator)


def _adjusted(table: pd.DataFrame, p_column: str, q_column: str, by: list[str]) -> pd.DataFrame:
    """Fill `q_column` from `p_column`, one family of tests per group."""
    if len(table):
        table[q_column] = table.groupby(by)[p_column].transform(adjust)
    return table
