"""One number per layer and model: change by tuning, dimensions in use (figure 5), and where an update acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mossa.analysis.change_words import change_title
from mossa.analysis.wording import count, short
from mossa.report import titles
from mossa.report.colours import BLUE, CEILING, GREY, Colours, Style, in_order, styles_of
from mossa.report.figures.labels import entitle, headline, layer_ticks, legend_below
from mossa.report.figures.style import blank, blank_because, need, panels, same_height, styled
from mossa.report.select import group_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def change(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None) -> list[Axes]:
    """Draw the paired difference from the base per layer and model, one panel per group of tasks.

    `table` holds the rows of one estimator of the findings' table `common_change`: within a panel all models are shown
    on the same tasks.
    """
    need(table, ("group", "experimental", "layer"), "median", "low", "high", "tasks")
    known = table.dropna(subset=["median"])
    groups = list(known.groupby("group", sort=False))
    if not groups:
        return [blank_because(axes[0] if axes else None, "No difference from the base could be measured.")]
    axes = panels(axes, len(groups), 2.5)
    styles = styles_of(table["experimental"], colours)
    for panel, (name, rows) in zip(axes, groups, strict=False):
        for model, part in rows.groupby("experimental", sort=False):
            _line(panel, part.sort_values("layer"), "median", styles[str(model)], short(str(model)))
        panel.axhline(0, color=GREY, linewidth=0.8)
        layer_ticks(panel, sorted(known["layer"].unique()))
        panel.set_ylabel("difference in similarity")
        entitle(panel, f"{group_words(str(name), int(rows['tasks'].max()))}. {change_title(rows)}.", fontsize=8)
    same_height(axes[: len(groups)])
    legend_below(axes[0], "Lines: median over tasks; bands: its 95 % interval.")
    return axes


def _line(axes: Axes, rows: pd.DataFrame, y: str, style: Style, label: str) -> None:
    """Draw one line with its interval `low` to `high`."""
    low, high = rows["low"].astype(float), rows["high"].astype(float)
    axes.fill_between(rows["layer"], low, high, color=style.colour, alpha=0.17, linewidth=0)
    shape = style.dash if len(rows) > 16 else f"{style.dash}{style.marker}"
    axes.plot(rows["layer"], rows[y], shape, color=style.colour, markersize=3, label=label)


@styled
def dimensionality(table: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None) -> Axes:
    """Draw figure 5: per layer and model the mean over tasks of the dimensions that explain 99 % of the variance.

    `table` has one row per (model, layer) with the mean `dimensions_99` and the interval `low`, `high` of the median
    (null where there are too few tasks), as the findings' table `dimensionality`.
    """
    need(table, ("model", "layer"), "dimensions_99", "low", "high", "tasks")
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


@styled
def place(table: pd.DataFrame) -> list[Axes]:
    """Draw where an update acts: one panel per reading, with a bar and its 95 % interval per layer.

    `table` has one row per (layer, reading). Layers without a value are left out; a reading without any says why.
    """
    need(table, ("layer", "reading"), "value", "low", "high", "reason")
    readings = list(dict.fromkeys(table["reading"]))
    axes = panels(None, len(readings), 1.5, least=1.6)
    for panel, reading in zip(axes, readings, strict=False):
        _bars(panel, table[table["reading"].eq(reading)].sort_values("layer"), reading)
    known = table.dropna(subset=["value"])
    headline(axes[0], titles.place(known) if len(known) else "Where it acts is not known")
    return axes


def _bars(axes: Axes, rows: pd.DataFrame, reading: str) -> None:
    axes.set_title(short(reading), fontsize=7)
    defined = rows.dropna(subset=["value"]).astype({"value": float, "low": float, "high": float})
    if defined.empty:
        blank_because(axes, str(rows["reason"].iloc[0]))
        return
    axes.axhline(0, color=GREY, linewidth=0.7)
    x, y = defined["layer"], defined["value"]
    bars = [y - defined["low"], defined["high"] - y]
    axes.bar(x, y, color=BLUE, width=0.7)
    axes.errorbar(x, y, bars, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    layer_ticks(axes, rows["layer"].astype(int).tolist())
