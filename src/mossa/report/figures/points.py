"""One point per prompt or task: the map of the prompts (figure 4), exact match per task, and how close the base is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.analysis.wording import count, number, short
from mossa.report import titles
from mossa.report.colours import BASE, GREY, Colours, Marks, cluster_marks, in_order, model_colours, styles_of
from mossa.report.figures.labels import entitle, label_width, legend_below, legend_columns
from mossa.report.figures.style import COLUMN_WIDTH, blank, blank_because, need, panels, root, styled
from mossa.report.select import by_gain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def projection(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, marks: Marks | None = None) -> list[Axes]:
    """Draw figure 4: a t-SNE map of the prompts of all tasks per model (rows) and layer (columns), by cluster.

    `table` has one row per (model, layer, prompt) with `x`, `y` and `cluster`, as `mossa.analysis.projection` returns.
    """
    need(table, (), "model", "layer", "cluster", "x", "y")
    models, layers = in_order(table["model"]), sorted(table["layer"].unique())
    shown = [(model, layer) for model in models for layer in layers]
    if not shown:
        return [blank_because(axes[0] if axes else None, "No projection was computed.")]
    if axes is None:
        axes = blank(0.8 + 7.0 / len(layers) * len(models), len(models), len(layers))
    marks = marks or cluster_marks(table["cluster"])
    for panel, (model, layer) in zip(axes, shown, strict=False):
        rows = table[(table["model"] == model) & (table["layer"] == layer)]
        for cluster, (colour, marker) in marks.items():
            part = rows[rows["cluster"] == cluster]
            # rasterized: tens of thousands of vector marks would make PDF and SVG slow to open
            (points,) = panel.plot(part["x"], part["y"], marker, color=colour, ms=1.8, mew=0, label=short(cluster))
            points.set(alpha=0.7, rasterized=True)
        panel.set_title(f"{model}, layer {layer}", fontsize=7.5)
        panel.set_xticks([])
        panel.set_yticks([])
    handles, names = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, names, loc="outside lower center", ncols=legend_columns(names, 6.5), markerscale=2.5)
    return list(axes)


@styled
def performance(
    table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None
) -> list[Axes]:
    """Draw exact match per task, of base, tuned model and specialist: a panel per model, another for held-out tasks.

    `table` is the findings' table `performance`. Grey bars go from the base to the tuned model; largest gain on top.
    """
    need(table, ("experimental", "task"), "held_out", "gain", "base_accuracy", "tuned_accuracy", "control_accuracy")
    parts = [(key, by_gain(part)) for key, part in table.groupby(["experimental", "held_out"], sort=False)]
    parts = [(key, rows) for key, rows in parts if len(rows)]
    if not parts:
        return [blank_because(axes[0] if axes else None, "No exact match was measured.")]
    axes = panels(axes, len(parts), 0.6 + 0.115 * max(6, *(len(rows) for _, rows in parts)), head=0.7)
    styles = styles_of(table["experimental"], colours)
    for panel, ((model, held_out), rows) in zip(axes, parts, strict=False):
        panel.hlines(rows.index, rows["base_accuracy"], rows["tuned_accuracy"], color="#C9D0D7", linewidth=2)
        for column, style, name in (("base", styles[BASE], "base"), ("tuned", styles[str(model)], short(str(model)))):
            panel.plot(rows[f"{column}_accuracy"], rows.index, style.marker, color=style.colour, ms=3.5, label=name)
        panel.plot(rows["control_accuracy"], rows.index, "X", color=GREY, ms=3.5, label="specialist")
        panel.set_yticks(rows.index, [short(task, 22) for task in rows["task"]], fontsize=5)
        panel.set_xlim(-0.04, 1.04)
        panel.set_xlabel("exact match")
        kind = "held-out" if held_out else "tuned"
        means = f"{number(rows['base_accuracy'].mean())} → {number(rows['tuned_accuracy'].mean())}"
        entitle(panel, f"{short(str(model))}, {count(len(rows), f'{kind} task')}: {means}, "
                       f"{int((rows['gain'] < 0).sum())} worse", fontsize=7, beside=0.5)  # fmt: skip
    drawn = {str(line.get_label()): line for panel in axes for line in panel.lines}
    drawn["specialist"] = drawn.pop("specialist")  # after all models
    root(axes[0]).legend(drawn.values(), drawn, loc="outside lower center", ncols=legend_columns([*drawn], 6.5))
    return axes


@styled
def encoded(table: pd.DataFrame, axes: Axes | None = None, *, taught: frozenset[str] = frozenset()) -> Axes:
    """Draw one line per task: how close the base is to its control, with its 95 % interval, the closest on top.

    `table` holds the rows of one estimator of the findings' table `encoded`. Grey marks: the base against the sham
    control (trained on shuffled answers), and two controls of the task. The base is known to have been taught the
    tasks in `taught`.
    """
    need(table, (), "task", "cluster", "value", "low", "high", "sham", "agreement")
    rows = table.dropna(subset=["value"]).sort_values(["value", "task"], ascending=[False, True], ignore_index=True)
    axes = axes or blank(0.9 + 0.12 * max(8, len(rows)))[0]
    if rows.empty:
        return blank_because(axes, "The similarity of the base to the controls is not known.")
    y, colour = np.arange(len(rows)), model_colours([])[BASE]
    axes.hlines(y, rows["low"].astype(float), rows["high"].astype(float), color=colour, linewidth=0.8, alpha=0.6)
    for column, marker, label in (("sham", "X", "trained on shuffled answers"), ("agreement", "D", "two specialists")):
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
