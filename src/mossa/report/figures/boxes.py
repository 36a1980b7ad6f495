"""Figures 2, 3 and 7: how similar each model is to the controls, layer by layer, over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.analysis.wording import count, short
from mossa.report import select, titles
from mossa.report.colours import CEILING, Colours, Style, in_order, styles_of
from mossa.report.figures.labels import entitle, headline, layer_ticks, legend_below
from mossa.report.figures.style import across, blank, blank_because, need, panels, root, same_height, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEY = ("experimental", "task", "layer")
FEWEST_FOR_QUARTILES = 5


@styled
def layers(table: pd.DataFrame, axes: Axes | None = None, *, title: str = "", colours: Colours | None = None) -> Axes:
    """Draw figure 2: per layer and model a box of similarity over tasks, with every task as a point on top.

    Above 12 layers there are median lines with ribbons of the quartiles in place of boxes, which would be too narrow.
    `table` has one row per (experimental, task, layer), as `select.reading` returns it; rows of `control` are two
    controls of one task, drawn as their median. Whiskers reach the last task within 1.5 box heights, as in the paper.
    `colours`, given for all models, keeps them the same in several figures. Raises `DataError` for missing columns and
    for two rows with the same key.
    """
    need(table, KEY, "value")
    axes = axes or blank(2.9)[0]
    defined = table.dropna(subset=["value"])
    if defined.empty:
        return blank_because(axes, select.undefined(table) or "No similarity was measured.")
    styles = styles_of(table["experimental"], colours)
    models = [model for model in in_order(defined["experimental"]) if model != CEILING]
    axis = sorted(defined["layer"].unique())
    draw = _ribbon if len(axis) > select.RIBBONS_ABOVE else _boxes
    for place, model in enumerate(models):
        rows = defined[defined["experimental"] == model]
        label = f"{short(model)} ({count(rows['task'].nunique(), 'task')})"
        draw(axes, rows, styles[model], label, place, len(models))
    _agreement(axes, defined, styles[CEILING])
    layer_ticks(axes, axis)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("similarity to the specialist")
    entitle(axes, title or titles.most_apart(defined))
    drawn = "" if draw is _ribbon else "Boxes: quartiles and median over tasks; points: tasks."
    legend_below(axes, " ".join(filter(None, (drawn, select.undefined(table)))))
    return axes


def _boxes(axes: Axes, rows: pd.DataFrame, style: Style, label: str, place: int, models: int) -> None:
    width = 0.8 / models
    shift = (place - (models - 1) / 2) * width
    layers = np.unique(rows["layer"].to_numpy(int))
    line = {"color": style.colour, "linewidth": 0.7}
    axes.boxplot(
        [rows.loc[rows["layer"] == layer, "value"].to_numpy(float) for layer in layers],
        positions=layers + shift,
        widths=width * 0.85,
        showfliers=False,
        showcaps=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": style.colour, "alpha": 0.28, "edgecolor": style.colour, "linewidth": 0.5},
        whiskerprops=line,
        medianprops={"color": style.colour, "linewidth": 1.3},
    )
    x = rows["layer"] + shift + np.random.default_rng(place).uniform(-0.3, 0.3, len(rows)) * width
    axes.plot(x, rows["value"], ".", color=style.colour, markersize=1.6, alpha=0.55, markeredgewidth=0)
    axes.plot([], [], "s", color=style.colour, markersize=5, label=label)


def _ribbon(axes: Axes, rows: pd.DataFrame, style: Style, label: str, *_place: int) -> None:
    table = select.boxes(rows)
    axes.fill_between(table["layer"], table["q1"], table["q3"], color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(table["layer"], table["median"], style.dash, color=style.colour, label=f"{label}, median and quartiles")


def _agreement(axes: Axes, defined: pd.DataFrame, style: Style) -> None:
    """Draw the median over tasks of the similarity of two controls of one task, if two were trained."""
    rows = defined[defined["experimental"] == CEILING]
    if rows.empty:
        return
    median = rows.groupby("layer")["value"].median()
    label = f"two specialists of one task, median ({count(rows['task'].nunique(), 'task')})"
    axes.plot(median.index, median, style.dash, linewidth=1.2, color=style.colour, label=label)


@styled
def clusters(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None) -> list[Axes]:
    """Draw figure 3: one panel per task cluster with each model's median over its tasks.

    A cluster of five tasks or more has the band of its quartiles; a smaller one has a thin line per task instead.
    `table` is as in `layers` with a column `cluster`; `axes` holds at least as many axes as there are clusters.
    """
    need(table, KEY, "value", "cluster")
    names = sorted(table["cluster"].unique())
    axes = panels(axes, len(names), 1.7, head=0.6)
    styles = styles_of(table["experimental"], colours)
    for panel, name in zip(axes, names, strict=False):
        _cluster(panel, table[table["cluster"] == name], name, styles)
    if names:
        same_height(axes[: len(names)])
        lines = {str(line.get_label()): line for panel in axes for line in panel.lines}
        handles = [line for label, line in lines.items() if not label.startswith("_")]
        how = {"title": "Thick: median over tasks; thin: one task; bands: quartiles.", "title_fontsize": 6}
        root(axes[0]).legend(handles=handles, loc="outside lower center", ncols=across(len(handles), 4), **how)
        headline(axes[0], titles.clusters(table))
    return axes


def _cluster(axes: Axes, rows: pd.DataFrame, name: str, styles: dict[str, Style]) -> None:
    defined = rows.dropna(subset=["value"])
    for model in in_order(rows["experimental"]):
        part, style = defined[defined["experimental"] == model], styles[model]
        quartiles = part.groupby("layer")["value"].quantile(np.array([0.25, 0.5, 0.75])).unstack()
        label = "two specialists" if model == CEILING else short(model)
        axes.plot(quartiles.index, quartiles.get(0.5, []), style.dash, color=style.colour, label=label)
        if model == CEILING or quartiles.empty:
            continue
        if part["task"].nunique() >= FEWEST_FOR_QUARTILES:
            low, high = quartiles[0.25], quartiles[0.75]
            axes.fill_between(quartiles.index, low, high, color=style.colour, alpha=0.2, linewidth=0)
        else:
            for _, task in part.groupby("task"):
                axes.plot(task["layer"], task["value"], color=style.colour, linewidth=0.4, alpha=0.6)
        axes.plot(part["layer"], part["value"], ".", color=style.colour, markersize=1.4, alpha=0.5, mew=0)
    missing = int(rows["value"].isna().sum())
    undefined = f", {missing} values undefined" if missing else ""
    entitle(axes, f"{short(name)} (n\xa0=\xa0{rows['task'].nunique()}{undefined})", fontsize=7.5)
    axes.set_xlabel("layer")
    axes.set_ylabel("similarity")


@styled
def unseen(table: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None) -> Axes:
    """Draw figure 7: figure 2 on the held-out tasks, for the base and the models tuned without them."""
    need(table, (), *KEY, "value", "held_out")
    rows = select.unseen(table)
    if rows.empty:
        return blank_because(axes, "No task was held out of any experimental model.")
    return layers(rows, axes, title=f"Held-out tasks. {titles.most_apart(rows)}", colours=colours)
