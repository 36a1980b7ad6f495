"""How much of each task the base already held before tuning, from most to least, with what it is read against (RQ1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.report import titles
from mossa.report.colours import BASE, GREY, model_colours
from mossa.report.figures.canvas import (
    COLUMN_WIDTH,
    blank,
    blank_because,
    count,
    entitle,
    label_width,
    legend_below,
    need,
    root,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def encoded(table: pd.DataFrame, axes: Axes | None = None, *, taught: frozenset[str] = frozenset()) -> Axes:
    """Draw one line per task: how close the base is to its control, with its 95 % interval, the closest on top.

    `table` holds the rows of one estimator of the findings' table `encoded`. Grey marks: the base against the sham
    control (trained on shuffled answers), and two controls of the task. Tasks of `taught` are those the base is known
    to have been taught.
    """
    need(table, "task", "cluster", "value", "low", "high", "sham", "agreement")
    rows = table.dropna(subset=["value"]).sort_values(["value", "task"], ascending=[False, True], ignore_index=True)
    axes = axes or blank(0.9 + 0.12 * max(8, len(rows)))[0]
    if rows.empty:
        return blank_because(axes, "The similarity of the base to the controls is not known.")
    y, colour = np.arange(len(rows)), model_colours([])[BASE]
    axes.hlines(y, rows["low"].astype(float), rows["high"].astype(float), color=colour, linewidth=0.8, alpha=0.6)
    for column, marker, label in (
        ("sham", "X", "trained on shuffled answers"),
        ("agreement", "D", "two specialists"),
    ):
        if rows[column].notna().any():
            axes.plot(rows[column].astype(float), y, marker, color=GREY, markersize=3, label=label)
    known = rows["task"].isin(taught).to_numpy()
    axes.plot(rows["value"][~known], y[~known], "o", color=colour, markersize=3.5, label="the task's specialist")
    if known.any():
        label = "the task's specialist, task taught to the base"
        axes.plot(rows["value"][known], y[known], "*", color=colour, markersize=6, label=label)
    wide = root(axes).get_figwidth() > COLUMN_WIDTH
    names = [
        f"{short(t, 28)} · {short(c, 28)}" if wide else short(t, 20) for t, c in rows[["task", "cluster"]].to_numpy()
    ]
    axes.set_yticks(y, names, fontsize=5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("similarity of the base, mean over layers")
    entitle(axes, titles.encoded(rows, taught), beside=label_width(names, 5))
    missing = len(table) - len(rows)
    legend_below(axes, f"{count(missing, 'task')} without a defined value are not drawn." if missing else "")
    return axes
