"""How much of each task the base already held before tuning, from most to least, with intervals (RQ1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.report.colours import Marks, cluster_marks
from mossa.report.figures.canvas import blank, blank_because, count, need, short, styled, write_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEANING = "similarity of the base, mean over layers"


@styled
def encoded(table: pd.DataFrame, axes: Axes | None = None, *, marks: Marks | None = None) -> Axes:
    """Draw one line per task: how close the base is to its control, with its 95 % interval, the closest on top.

    `table` holds the rows of one estimator of the findings' table `encoded`.
    """
    need(table, "task", "cluster", "value", "low", "high")
    rows = table.dropna(subset=["value"]).sort_values(["value", "task"], ascending=[False, True], ignore_index=True)
    axes = axes or blank(0.8 + 0.12 * max(8, len(rows)))[0]
    if rows.empty:
        return blank_because(axes, "The similarity of the base to the controls is not known.")
    y = np.arange(len(rows))
    axes.hlines(y, rows["low"].astype(float), rows["high"].astype(float), color="#B8B8B8", linewidth=1)
    for cluster, (colour, marker) in (marks or cluster_marks(table["cluster"])).items():
        own = rows["cluster"].eq(cluster).to_numpy()
        axes.plot(rows["value"][own], y[own], marker, color=colour, markersize=3.5, label=short(cluster))
    axes.set_yticks(y, [short(task) for task in rows["task"]], fontsize=5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(MEANING)
    axes.set_title(f"What the base already held ({count(len(rows), 'task')}, 95 % intervals)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    missing = len(table) - len(rows)
    write_note(axes, f"{missing} tasks without a defined value are not drawn." if missing else "", 30)
    return axes
