"""Rows of the raw tables that one figure shows: the table behind it, one row per point."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from mossa.analysis.distribution import describe
from mossa.report.colours import BASE

COLUMNS = ["experimental", "task", "cluster", "held_out", "layer", "value", "low", "high", "n", "reason"]
RIBBONS_ABOVE = 12
"""Layers up to which boxes are drawn; above, boxes of several models are slivers, and ribbons take their place."""


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
    """Return the rows of the tasks that no model was kept away from, so that all models stand on the same tasks."""
    kept_away = rows.loc[rows["held_out"].astype(bool), "task"].unique()
    return rows[~rows["task"].isin(kept_away)].reset_index(drop=True)


def unseen(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of figure 7: the held-out tasks, as the models tuned without them and the base see them."""
    kept_away = rows.loc[rows["held_out"].astype(bool), "task"].unique()
    theirs = rows["held_out"].astype(bool) | rows["experimental"].isin([BASE, "control"])
    return rows[rows["task"].isin(kept_away) & theirs].reset_index(drop=True)


def tuned_on(table: pd.DataFrame) -> str:
    """Return the population of tasks a model was tuned on: `seen` where some were held out, else `all`."""
    return "seen" if table["population"].eq("seen").any() else "all"


def undefined(rows: pd.DataFrame) -> str:
    """Return a sentence that counts the undefined values and their reasons, or an empty string."""
    missing = rows[rows["value"].isna()]
    if missing.empty:
        return ""
    why = missing["reason"].fillna("no reason given").value_counts()
    reasons = "; ".join(f"{reason} ({count})" for reason, count in why.items())
    return f"{len(missing)} of {len(rows)} values are undefined and not drawn: {reasons}."
