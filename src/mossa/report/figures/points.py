"""One point per prompt or task: the map of the prompts (figure 4), and exact match per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mossa.analysis.wording import number
from mossa.report.colours import BASE, GREY, Colours, Marks, cluster_marks, in_order
from mossa.report.figures.boxes import styles_of
from mossa.report.figures.canvas import (
    across,
    blank,
    blank_because,
    count,
    entitle,
    legend_columns,
    need,
    once,
    root,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def projection(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, marks: Marks | None = None) -> list[Axes]:
    """Draw figure 4: a t-SNE map of the prompts of all tasks per model (rows) and layer (columns), by cluster.

    `table` has one row per (model, layer, prompt) with `x`, `y` and `cluster`, as `mossa.analysis.projection` returns.
    """
    need(table, "model", "layer", "cluster", "x", "y")
    models, layers = in_order(table["model"]), sorted(table["layer"].unique())
    panels = [(model, layer) for model in models for layer in layers]
    if not panels:
        return [blank_because(axes[0] if axes else blank(1.5)[0], "No projection was computed.")]
    if axes is None:
        axes = blank(0.8 + 7.0 / len(layers) * len(models), len(models), len(layers))
    marks = marks or cluster_marks(table["cluster"])
    for panel, (model, layer) in zip(axes, panels, strict=False):
        rows = table[(table["model"] == model) & (table["layer"] == layer)]
        for cluster, (colour, marker) in marks.items():
            part = rows[rows["cluster"] == cluster]
            # Pixels inside the vector formats: tens of thousands of marks would make them slow to open.
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
    """Draw exact match per task, base to tuned model and specialist: a panel per model, and apart for held-out tasks.

    `table` is the findings' table `performance`. Grey bars go from the base to the tuned model; largest gain on top.
    """
    need(table, "experimental", "task", "held_out", "gain", "base_accuracy", "tuned_accuracy", "control_accuracy")
    once(table, "experimental", "task")
    parts = list(table.dropna(subset=["gain"]).groupby(["experimental", "held_out"], sort=False))
    if not parts:
        return [blank_because(axes[0] if axes else blank(1.5)[0], "No exact match was measured.")]
    if axes is None:
        rows = -(-len(parts) // (columns := across(len(parts))))
        axes = blank(0.7 + rows * (0.6 + 0.115 * max(6, *(len(part) for _, part in parts))), rows, columns)
    styles = styles_of(table["experimental"], colours)
    for panel, ((model, held_out), part) in zip(axes, parts, strict=False):
        rows = part.sort_values(["gain", "task"]).reset_index(drop=True)
        panel.hlines(rows.index, rows["base_accuracy"], rows["tuned_accuracy"], color="#C9D0D7", linewidth=2)
        for column, style, name in (("base", styles[BASE], "base"), ("tuned", styles[str(model)], "tuned model")):
            panel.plot(rows[f"{column}_accuracy"], rows.index, style.marker, color=style.colour, ms=3.5, label=name)
        panel.plot(rows["control_accuracy"], rows.index, "X", color=GREY, ms=3.5, label="specialist")
        panel.set_yticks(rows.index, [short(task, 22) for task in rows["task"]], fontsize=5)
        panel.set_xlim(-0.04, 1.04)
        panel.set_xlabel("exact match")
        kind = "held-out" if held_out else "tuned"
        means = f"{number(rows['base_accuracy'].mean())} → {number(rows['tuned_accuracy'].mean())}"
        entitle(panel, f"{short(str(model))}, {count(len(rows), f'{kind} task')}: {means}, "
                       f"{int((rows['gain'] < 0).sum())} worse", fontsize=7, beside=0.5)  # fmt: skip
    for panel in axes[len(parts) :]:
        panel.set_axis_off()
    root(axes[0]).legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return list(axes)
