"""How much of each task the base already held before tuning, from most to least, with intervals (RQ1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.report.colours import GREY, Marks, cluster_marks
from mossa.report.figures.canvas import blank, blank_because, count, need, short, styled, write_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEANINGS = {
    "share": "similarity of the base, share of the ceiling",
    "value": "similarity of the base, mean over layers",
}


def encoded_measure(table: pd.DataFrame) -> tuple[str, str, str]:
    """Return the columns to read: the share of the noise ceiling if every defined task has one, else the similarity."""
    defined = table.dropna(subset=["value"])
    if len(defined) and defined["share"].notna().all():
        return "share", "share_low", "share_high"
    return "value", "low", "high"


@styled
def encoded(table: pd.DataFrame, axes: Axes | None = None, *, marks: Marks | None = None) -> Axes:
    """Draw one line per task: how close the base is to its control, with its 95 % interval, the closest on top.

    `table` holds the rows of one estimator of the findings' table `encoded`. On the dotted line the base is as close
    as a second control.
    """
    need(table, "task", "cluster", "value", "low", "high", "share", "share_low", "share_high")
    measure, low, high = encoded_measure(table)
    rows = table.dropna(subset=[measure]).sort_values([measure, "task"], ascending=[False, True], ignore_index=True)
    axes = axes or blank(0.8 + 0.12 * max(8, len(rows)))[0]
    if rows.empty:
        return blank_because(axes, "The similarity of the base to the controls is not known.")
    y = np.arange(len(rows))
    axes.hlines(y, rows[low].astype(float), rows[high].astype(float), color="#B8B8B8", linewidth=1)
    for cluster, (colour, marker) in (marks or cluster_marks(table["cluster"])).items():
        own = rows["cluster"].eq(cluster).to_numpy()
        axes.plot(rows[measure][own], y[own], marker, color=colour, markersize=3.5, label=short(cluster))
    if measure == "share":
        axes.axvline(1, color=GREY, linestyle=":", linewidth=0.8)
    axes.set_yticks(y, [short(task) for task in rows["task"]], fontsize=5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(MEANINGS[measure])
    axes.set_title(f"What the base already held ({count(len(rows), 'task')}, 95 % intervals)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    missing = len(table) - len(rows)
    write_note(axes, f"{missing} tasks without a defined value are not drawn." if missing else "", 30)
    return axes
