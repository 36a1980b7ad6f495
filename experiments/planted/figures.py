"""Figures of the trial: task by task where it was planted and where not, and how well each reading tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.analysis.wording import short
from mossa.report.colours import BLUE, GREY, VERMILLION, Marks, cluster_marks
from mossa.report.figures.labels import layer_ticks, legend_below
from mossa.report.figures.style import blank, blank_because, need, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def crossed(table: pd.DataFrame, axes: Axes | None = None, *, marks: Marks | None = None) -> Axes:
    """Draw one point per task: the similarity of base and control where it was not planted (x) and where it was (y).

    `table` has one row per task with `cluster`, `planted` and `absent`. Above the line the reading is right.
    """
    need(table, ("task",), "cluster", "planted", "absent")
    axes = axes or blank(3.0)[0]
    if table.empty:
        return blank_because(axes, "No task could be compared.")
    for cluster, (colour, marker) in (marks or cluster_marks(table["cluster"])).items():
        own = table[table["cluster"] == cluster]
        axes.plot(own["absent"], own["planted"], marker, color=colour, markersize=4, label=short(cluster))
    both = table[["planted", "absent"]].to_numpy()
    ends = [both.min() - 0.02, both.max() + 0.02]
    axes.plot(ends, ends, ":", color=GREY, linewidth=0.8)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    axes.set_xlabel("base that was not taught the task")
    axes.set_ylabel("base that was taught the task")
    axes.set_title("CKA of base and control, one point per task")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return axes


@styled
def separation(verdicts: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw the AUC of every reading and rival with its 95 % interval; 0.5 is a coin, below it the sign is inverted.

    `verdicts` holds the rows of the trial's table that have no layer.
    """
    need(verdicts, ("reading",), "rival", "auc", "auc_low", "auc_high")
    rows = verdicts.sort_values(["rival", "auc"], ascending=[True, False], ignore_index=True)
    axes = axes or blank(0.7 + 0.19 * len(rows))[0]
    for rival, colour, label in ((False, BLUE, "readings"), (True, VERMILLION, "what a sceptic would read instead")):
        own = rows[rows["rival"] == rival]
        axes.hlines(own.index, own["auc_low"], own["auc_high"], color=colour, linewidth=1.2)
        axes.plot(own["auc"], own.index, "s" if rival else "o", color=colour, markersize=4, label=label)
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=0.8)
    axes.set_yticks(np.arange(len(rows)), rows["reading"].tolist())
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("AUC: planted above not planted")
    axes.set_title("Which reading tells a planted task from one that was not?")
    legend_below(axes)
    return axes


@styled
def by_layer(verdicts: pd.DataFrame, axes: Axes | None = None, *, reading: str = "debiased") -> Axes:
    """Draw one reading's difference, planted minus not, per layer: mean over tasks with its 95 % interval."""
    need(verdicts, (), "reading", "layer", "difference", "low", "high")
    rows = verdicts[verdicts["reading"].eq(reading) & verdicts["layer"].notna()].sort_values("layer")
    axes = axes or blank(2.4)[0]
    if rows.empty:
        return blank_because(axes, "No layer could be compared.")
    layers = rows["layer"].astype(int).tolist()
    axes.axhline(0, color=GREY, linewidth=0.7)
    axes.fill_between(layers, rows["low"].astype(float), rows["high"].astype(float), color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(layers, rows["difference"], "o-", color=BLUE, markersize=3)
    layer_ticks(axes, layers)
    axes.set_ylabel("difference in CKA")
    axes.set_title(f"Planted minus not planted, {reading}: mean over tasks and 95 % interval")
    return axes
