"""What a figure shows, selected from the findings: shared by the static figures and the charts of the page."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.change import TUNED
from mossa.analysis.curves import describe
from mossa.analysis.wording import count
from mossa.report.colours import BASE, in_order

COLUMNS = ["experimental", "task", "cluster", "held_out", "layer", "value", "low", "high", "n", "reason"]
RIBBONS_ABOVE = 12
"""With more layers than this, ribbons are drawn in place of boxes, which would be too narrow to read."""


def reading(curves: pd.DataFrame, estimator: str, relations: Iterable[str] = ("control", "ceiling")) -> pd.DataFrame:
    """Return one row per (experimental, task, layer): similarity to the task's own control, and that of two controls.

    `curves` is the table of that name in the findings of `mossa.analysis.analyse` (or a raw similarity table with one
    control per task). Rows of two controls have `experimental` = `control`. Undefined values stay, with their reason.
    """
    rows = curves[curves["estimator"].eq(estimator) & curves["relation"].isin(list(relations))]
    return rows[COLUMNS].reset_index(drop=True)


def boxes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return median, quartiles and whiskers over tasks of every layer with a defined value."""
    return pd.DataFrame([{"layer": layer, **describe(part["value"])} for layer, part in rows.groupby("layer")])


def common(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tasks that were held out of no model, so that all models are shown on the same tasks."""
    held_out = rows.loc[rows["held_out"].astype(bool), "task"].unique()
    return rows[~rows["task"].isin(held_out)].reset_index(drop=True)


def unseen(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of figure 7: held-out tasks, for the base, the models tuned without them, and two controls."""
    held_out = rows.loc[rows["held_out"].astype(bool), "task"].unique()
    theirs = rows["held_out"].astype(bool) | rows["experimental"].isin([BASE, "control"])
    return rows[rows["task"].isin(held_out) & theirs].reset_index(drop=True)


def tuned_on(table: pd.DataFrame) -> str:
    """Return the name of the population of tasks a model was tuned on: `seen` if any were held out, else `all`."""
    return "seen" if table["population"].eq("seen").any() else "all"


def correlations(findings: Findings, estimator: str) -> pd.DataFrame:
    """Return the correlates of one estimator, or no rows if no correlation is defined."""
    table = findings.correlates[findings.correlates["estimator"].eq(estimator)]
    return table if table["correlation"].notna().any() else table.iloc[:0]


def by_gain(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have a `gain`, numbered from 0; the smallest is first, which is the bottom of a figure."""
    return rows.dropna(subset=["gain"]).sort_values(["gain", "task"]).reset_index(drop=True)


def grids(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return per model (base first) its values as a table, tasks in the order of their clusters by layers."""
    order = rows[["cluster", "task"]].drop_duplicates().sort_values(["cluster", "task"])["task"]
    layers = sorted(rows["layer"].unique())
    return {
        model: rows[rows["experimental"].eq(model)]
        .pivot(index="task", columns="layer", values="value")
        .reindex(order, columns=layers)
        for model in in_order(rows["experimental"])
    }


def group_words(group: str, tasks: int) -> str:
    """Return a group of tasks in words, with their number: `18 tasks that every tuned model saw`."""
    return f"{count(tasks, 'task')} {'that every tuned model saw' if group == TUNED else group}"


def undefined(rows: pd.DataFrame) -> str:
    """Return a sentence that counts the undefined values and their reasons, or an empty string."""
    missing = rows[rows["value"].isna()]
    if missing.empty:
        return ""
    why = missing["reason"].fillna("no reason given").value_counts()
    reasons = "; ".join(f"{reason} ({number})" for reason, number in why.items())
    return f"{len(missing)} of {len(rows)} values are undefined and not drawn: {reasons}."
