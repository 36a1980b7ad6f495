"""One value per model, task and layer: controls that did not learn left out, seeds averaged."""

from __future__ import annotations

import pandas as pd

from mossa.analysis.controls import failed

NO_CLUSTER = "(no cluster)"  # what tables.py calls the cluster of a task that has none
KEY = ["experimental", "relation", "task", "cluster", "layer", "estimator"]

COLUMNS = [
    *KEY,
    "held_out",
    "value",
    "standard_error",
    "low",
    "high",
    "references",
    "left_out",
    "n",
    "d",
    "reason",
]


def average_references(similarity: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (experimental, relation, task, layer, estimator), averaged over the references.

    `references` counts those averaged, `left_out` those not averaged because their control did not learn (for the
    agreement of two controls: because any control of the task did not). `standard_error` is the mean over references:
    at least the true one, whatever their correlation. `value` is null, with a `reason`, where nothing is left.
    """
    poor = controls[failed(controls)]
    of_task = similarity["relation"].eq("ceiling") & similarity["task"].isin(poor["task"])
    out = similarity["reference"].isin(poor["reference"]) | of_task
    rows = similarity.assign(out=out, undefined=similarity["reason"].where(similarity["value"].isna()).where(~out))
    rows["defined"] = rows["value"].notna() & ~out
    for column in ("value", "standard_error", "low", "high"):
        rows[column] = rows[column].where(rows["defined"])
    grouped = rows.groupby(KEY, sort=False, dropna=False)
    table = grouped.agg(
        held_out=("held_out", "first"),
        value=("value", "mean"),
        standard_error=("standard_error", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        references=("defined", "sum"),
        left_out=("out", "sum"),
        n=("n", "first"),
        d=("d", "first"),
        reason=("undefined", "first"),
    ).reset_index()
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
