"""One number per layer and model: the change by tuning, and the dimensions in use (figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mossa.analysis.headline import change_title
from mossa.report import titles
from mossa.report.colours import CEILING, GREY, Colours, Style, in_order
from mossa.report.figures.boxes import styles_of
from mossa.report.figures.canvas import (
    across,
    blank,
    blank_because,
    count,
    entitle,
    layer_ticks,
    legend_below,
    need,
    once,
    same_height,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def change(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None) -> list[Axes]:
    """Draw the paired difference from the base per layer and model, one panel per group of tasks.

    `table` holds the rows of one estimator of the findings' table `common_change`: within a panel all models stand on
    the same tasks.
    """
    need(table, "group", "experimental", "layer", "median", "low", "high", "tasks")
    once(table, "group", "experimental", "layer")
    known = table.dropna(subset=["median"])
    groups = list(known.groupby("group", sort=False))
    if not groups:
        return [blank_because(axes[0] if axes else blank(1.5)[0], "No difference from the base could be measured.")]
    if axes is None:
        columns = across(len(groups))
        axes = blank(0.4 + 2.5 * -(-len(groups) // columns), -(-len(groups) // columns), columns)
    styles = styles_of(table["experimental"], colours)
    for panel, (name, rows) in zip(axes, groups, strict=False):
        for model, part in rows.groupby("experimental", sort=False):
            _line(panel, part.sort_values("layer"), "median", styles[str(model)], short(str(model)))
        panel.axhline(0, color=GREY, linewidth=0.8)
        layer_ticks(panel, sorted(known["layer"].unique()))
        panel.set_ylabel("difference in similarity")
        kind = "that all tuned models saw" if name == "tuned" else str(name)
        entitle(panel, f"{count(int(rows['tasks'].max()), 'task')} {kind}. {change_title(rows)}.", fontsize=8)
    same_height(axes[: len(groups)])
    for panel in axes[len(groups) :]:
        panel.set_axis_off()
    legend_below(axes[0])
    return list(axes)


def _line(axes: Axes, rows: pd.DataFrame, y: str, style: Style, label: str) -> None:
    """Draw one line with its interval `low` to `high`."""
    low, high = rows["low"].astype(float), rows["high"].astype(float)
    axes.fill_between(rows["layer"], low, high, color=style.colour, alpha=0.17, linewidth=0)
    many = len(rows) > 16
    axes.plot(
        rows["layer"],
        rows[y],
        f"{style.dash}{'' if many else style.marker}",
        color=style.colour,
        markersize=3,
        label=label,
    )


@styled
def dimensionality(table: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None) -> Axes:
    """Draw figure 5: per layer and model the mean over tasks of the dimensions that explain 99 % of the variance.

    `table` has one row per (model, layer) with the mean `dimensions_99` and the interval `low`, `high` of the median
    (null where there are too few tasks), as the findings' table `dimensionality`.
    """
    need(table, "model", "layer", "dimensions_99", "low", "high", "tasks")
    once(table, "model", "layer")
    axes = axes or blank(2.6)[0]
    defined = table.dropna(subset=["dimensions_99"]).sort_values("layer")
    if defined.empty:
        return blank_because(axes, "No spectrum was measured.")
    styles = styles_of(table["model"], colours)
    for model in in_order(defined["model"]):
        rows = defined[defined["model"] == model]
        tasks = int(rows["tasks"].max())
        label = f"specialists ({tasks})" if model == CEILING else f"{short(model)} ({count(tasks, 'task')})"
        _line(axes, rows, "dimensions_99", styles[model], label)
    layer_ticks(axes, sorted(defined["layer"].astype(int).unique()))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("dimensions")
    entitle(axes, titles.dimensionality(defined))
    legend_below(axes, "Dimensions for 99 % of the variance: mean over tasks; band: 95 % interval of the median.")
    return axes
