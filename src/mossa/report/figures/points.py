"""One point per prompt or per control: projection (figure 4), dose, and whether the controls learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from mossa.analysis.controls import failed
from mossa.report.colours import GREY, Marks, cluster_marks, in_order
from mossa.report.figures.canvas import blank, blank_because, legend_columns, need, short, styled, write_note

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
def dose(table: pd.DataFrame, axes: Axes | None = None, *, marks: Marks | None = None) -> Axes:
    """Draw how similar the base is to each control against the steps the control was trained (log scale).

    `table` has one row per control with `steps`, `base_similarity`, `cluster` and `learned`: one estimator of the
    findings' table `dose`. Controls that did not learn are hollow. A falling cloud is the dose confound.
    """
    need(table, "steps", "base_similarity", "cluster", "learned")
    axes = axes or blank(3.2)[0]
    rows = table.dropna(subset=["steps", "base_similarity"])
    if rows.empty:
        return blank_because(axes, "No control has both a dose and a defined similarity.")
    _by_cluster(axes, rows, "steps", "base_similarity", marks)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training steps of the control")
    axes.set_ylabel("similarity, mean over layers")
    missing = len(table) - len(rows)
    axes.set_title(f"Similarity of the base to {len(rows)} controls against their dose (hollow: did not learn)")
    write_note(axes, f"{missing} controls without a dose or a defined similarity are not drawn." if missing else "", 30)
    return axes


@styled
def controls(table: pd.DataFrame, axes: Axes | None = None, *, marks: Marks | None = None) -> Axes:
    """Draw every control's test loss against the base's on the same task; below the dotted line it learned something.

    `table` has one row per control with `reference`, `cluster`, `loss`, `base_loss` and `learned`, as the findings'
    table `controls`. Losses are nats per target token. Controls that did not learn are hollow.
    """
    need(table, "reference", "cluster", "loss", "base_loss", "learned")
    axes = axes or blank(3.2)[0]
    rows = table.dropna(subset=["loss", "base_loss"])
    if rows.empty:
        return blank_because(axes, "No control was evaluated on its own task beside the base.")
    most = float(rows[["loss", "base_loss"]].to_numpy(float).max())
    axes.plot([0, most], [0, most], ":", color=GREY, linewidth=0.8)
    failed = _by_cluster(axes, rows, "base_loss", "loss", marks)
    axes.set_xlabel("test loss of the base, nats per target token")
    axes.set_ylabel("test loss of the control")
    axes.set_title(f"Did the controls learn? {len(rows) - failed} of {len(rows)} (hollow: did not)")
    missing = len(table) - len(rows)
    write_note(axes, f"{missing} controls without both losses are not drawn." if missing else "", 30)
    return axes


def _by_cluster(axes: Axes, rows: pd.DataFrame, x: str, y: str, marks: Marks | None) -> int:
    """Draw one mark per control, hollow where it did not learn, and return how many did not."""
    hollow = failed(rows)
    there = set(rows["cluster"])
    for cluster, (colour, marker) in (marks or cluster_marks(rows["cluster"])).items():
        if cluster not in there:
            continue
        for own, face in ((rows[~hollow], colour), (rows[hollow], "none")):
            part = own[own["cluster"].eq(cluster)]
            axes.plot(part[x], part[y], marker, color=colour, markersize=4, markerfacecolor=face)
        axes.plot([], [], marker, color=colour, markersize=4, label=short(cluster))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return int(hollow.sum())
