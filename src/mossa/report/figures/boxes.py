"""Figures 2, 3 and 7: how similar each model is to the controls, layer by layer, over tasks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.report.colours import CEILING, Colours, in_order, model_colours
from mossa.report.figures.canvas import (
    blank,
    blank_because,
    count,
    layer_ticks,
    legend_below,
    need,
    once,
    root,
    short,
    styled,
)
from mossa.report.select import undefined
from mossa.report.select import unseen as unseen_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDED = ("experimental", "task", "layer", "value")


@styled
def layers(table: pd.DataFrame, axes: Axes | None = None, *, title: str = "", colours: Colours | None = None) -> Axes:
    """Draw figure 2: per layer and model a box of similarity over tasks with every task as a point over it.

    `table` has one row per (experimental, task, layer), as `select.reading` returns it; rows of `control` are the
    noise ceiling and drawn as its median, dashed. Boxes are quartiles with whiskers to the last task within 1.5 box
    heights, as in the paper. `colours` of all models keeps them the same over several figures. Raises `DataError` for
    missing columns and for two rows with one key.
    """
    need(table, *NEEDED)
    once(table, "experimental", "task", "layer")
    axes = axes or blank(2.9)[0]
    defined = table.dropna(subset=["value"])
    if defined.empty:
        return blank_because(axes, undefined(table) or "No similarity was measured.")
    colours = colours or model_colours(table["experimental"])
    models = [model for model in in_order(defined["experimental"]) if model != CEILING]
    width = 0.8 / max(1, len(models))
    jitter = np.random.default_rng(0)
    for place, model in enumerate(models):
        rows = defined[defined["experimental"] == model]
        shift = (place - (len(models) - 1) / 2) * width
        _boxes(axes, rows, shift, width, colours[model])
        x = rows["layer"] + shift + jitter.uniform(-0.3, 0.3, len(rows)) * width
        axes.plot(x, rows["value"], ".", color=colours[model], markersize=1.6, alpha=0.55, markeredgewidth=0)
        label = f"{short(model)} ({count(rows['task'].nunique(), 'task')})"
        axes.plot([], [], "s", color=colours[model], markersize=5, label=label)
    _ceiling(axes, defined, colours[CEILING])
    layer_ticks(axes, sorted(defined["layer"].unique()))
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("similarity to the control model")
    axes.set_title(title or "Similarity to each task's control model")
    legend_below(axes, undefined(table))
    return axes


def _boxes(axes: Axes, rows: pd.DataFrame, shift: float, width: float, colour: str) -> None:
    layers = np.unique(rows["layer"].to_numpy(int))
    line = {"color": colour, "linewidth": 0.7}
    axes.boxplot(
        [rows.loc[rows["layer"] == layer, "value"].to_numpy(float) for layer in layers],
        positions=layers + shift,
        widths=width * 0.85,
        showfliers=False,
        showcaps=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "alpha": 0.28, "edgecolor": colour, "linewidth": 0.5},
        whiskerprops=line,
        medianprops={"color": colour, "linewidth": 1.3},
    )


def _ceiling(axes: Axes, defined: pd.DataFrame, colour: str) -> None:
    """Draw the median over tasks of the similarity of two controls of one task, if two were trained."""
    rows = defined[defined["experimental"] == CEILING]
    if rows.empty:
        return
    median = rows.groupby("layer")["value"].median()
    label = f"noise ceiling, median ({count(rows['task'].nunique(), 'task')})"
    axes.plot(median.index, median, linestyle=(0, (3, 2)), linewidth=1, color=colour, label=label)


@styled
def clusters(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None) -> list[Axes]:
    """Draw figure 3: one panel per task cluster with each model's median over its tasks and the band of quartiles.

    Lines and bands replace the paper's boxes, because a cluster holds two to seven tasks: every task is a point.
    `table` is as in `layers` with a column `cluster`; `axes` holds at least as many axes as there are clusters.
    """
    need(table, *NEEDED, "cluster")
    once(table, "experimental", "task", "layer")
    names = sorted(table["cluster"].unique())
    if axes is None:
        columns = min(3, max(1, len(names)))
        rows = -(-max(1, len(names)) // columns)
        axes = blank(0.6 + 1.7 * rows, rows, columns)
    colours = colours or model_colours(table["experimental"])
    for panel, name in zip(axes, names, strict=False):
        _cluster(panel, table[table["cluster"] == name], name, colours)
    for panel in axes[len(names) :]:
        panel.set_axis_off()
    if names:
        for panel in axes[1 : len(names)]:
            panel.sharey(axes[0])
        lines = {str(line.get_label()): line for panel in axes for line in panel.lines}
        handles = [line for label, line in lines.items() if not label.startswith("_")]
        root(axes[0]).legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)))
    return list(axes)


def _cluster(axes: Axes, rows: pd.DataFrame, name: str, colours: Colours) -> None:
    defined = rows.dropna(subset=["value"])
    for model in in_order(rows["experimental"]):
        part = defined[defined["experimental"] == model]
        quartiles = part.groupby("layer")["value"].quantile(np.array([0.25, 0.5, 0.75])).unstack()
        if model == CEILING:
            axes.plot(
                quartiles.index, quartiles.get(0.5, []), "--", lw=0.9, color=colours[model], label="noise ceiling"
            )
            continue
        axes.plot(quartiles.index, quartiles.get(0.5, []), color=colours[model], label=short(model))
        if not quartiles.empty:
            axes.fill_between(
                quartiles.index, quartiles[0.25], quartiles[0.75], color=colours[model], alpha=0.2, linewidth=0
            )
        axes.plot(part["layer"], part["value"], ".", color=colours[model], markersize=1.4, alpha=0.5, mew=0)
    missing = int(rows["value"].isna().sum())
    counted = f"{short(name, 60)} (n = {rows['task'].nunique()}" + (
        f", {missing} values undefined)" if missing else ")"
    )
    axes.set_title(textwrap.fill(counted, 38), fontsize=7.5)
    axes.set_xlabel("layer")


@styled
def unseen(table: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None) -> Axes:
    """Draw figure 7: figure 2 on the held-out tasks, for the base and the models tuned without them."""
    need(table, *NEEDED, "held_out")
    rows = unseen_rows(table)
    if rows.empty:
        return blank_because(axes or blank(1.5)[0], "No task was held out of any experimental model.")
    colours = colours or model_colours(table["experimental"])
    return layers(rows, axes, title="Similarity to the control models of held-out tasks", colours=colours)
