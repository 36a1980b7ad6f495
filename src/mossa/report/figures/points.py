"""One point per prompt, control or task: projection (figure 4), dose, whether the controls learned, performance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from mossa.analysis.controls import failed
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
    write_note,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1B1F24"


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
def dose(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw how similar the base is to each control against the steps the control was trained (log scale).

    `table` has one row per control with `steps`, `base_similarity` and `learned`: one estimator of the
    findings' table `dose`. Controls that did not learn are hollow. A falling cloud is the dose confound.
    """
    need(table, "steps", "base_similarity", "learned")
    axes = axes or blank(3.2)[0]
    rows = table.dropna(subset=["steps", "base_similarity"])
    if rows.empty:
        return blank_because(axes, "No control has both a dose and a defined similarity.")
    _points(axes, rows, "steps", "base_similarity")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training steps of the specialist")
    axes.set_ylabel("similarity, mean over layers")
    missing = len(table) - len(rows)
    entitle(axes, f"Similarity of the base to {len(rows)} specialists and their steps (hollow: did not learn)")
    write_note(axes, f"{missing} controls without a dose or a defined similarity are not drawn." if missing else "", 30)
    return axes


@styled
def controls(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw every control's test loss against the base's on the same task; below the dotted line it learned something.

    `table` has one row per control with `loss`, `base_loss` and `learned`, as the findings' table `controls`.
    Losses are nats per target token. Controls that did not learn are hollow.
    """
    need(table, "loss", "base_loss", "learned")
    axes = axes or blank(3.2)[0]
    rows = table.dropna(subset=["loss", "base_loss"])
    if rows.empty:
        return blank_because(axes, "No control was evaluated on its own task beside the base.")
    most = float(rows[["loss", "base_loss"]].to_numpy(float).max())
    axes.plot([0, most], [0, most], ":", color=GREY, linewidth=0.8)
    failed = _points(axes, rows, "base_loss", "loss")
    axes.set_xlabel("test loss of the base, nats per target token")
    axes.set_ylabel("test loss of the specialist")
    entitle(axes, f"{len(rows) - failed} of {len(rows)} specialists learned their task (hollow: did not)")
    missing = len(table) - len(rows)
    write_note(axes, f"{missing} controls without both losses are not drawn." if missing else "", 30)
    return axes


def _points(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> int:
    """Draw one mark per control, hollow where it did not learn, and return how many did not."""
    hollow = failed(rows)
    for part, face in ((rows[~hollow], INK), (rows[hollow], "none")):
        axes.plot(part[x], part[y], "o", color=INK, markersize=4, markerfacecolor=face, alpha=0.8)
    return int(hollow.sum())


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
        means = f"{rows['base_accuracy'].mean():.2f} → {rows['tuned_accuracy'].mean():.2f}"
        entitle(panel, f"{short(str(model))}, {count(len(rows), f'{kind} task')}: {means}, "
                       f"{int((rows['gain'] < 0).sum())} worse", fontsize=7, beside=0.5)  # fmt: skip
    for panel in axes[len(parts) :]:
        panel.set_axis_off()
    root(axes[0]).legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return list(axes)
