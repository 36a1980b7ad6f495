"""One point per prompt or per control: projection (figure 4), dose, and whether the controls learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.report.colours import BLUE, GREY, VERMILLION, cluster_marks, in_order
from mossa.report.figures.canvas import blank, blank_because, legend_below, need, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def projection(table: pd.DataFrame, axes: Sequence[Axes] | None = None) -> list[Axes]:
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
    marks = cluster_marks(table["cluster"])
    for panel, (model, layer) in zip(axes, panels, strict=False):
        rows = table[(table["model"] == model) & (table["layer"] == layer)]
        for cluster, (colour, marker) in marks.items():
            part = rows[rows["cluster"] == cluster]
            panel.plot(part["x"], part["y"], marker, color=colour, markersize=1.8, alpha=0.7, mew=0, label=cluster)
        panel.set_title(f"{model}, layer {layer}", fontsize=7.5)
        panel.set_xticks([])
        panel.set_yticks([])
    handles, names = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, names, loc="outside lower center", ncols=3, markerscale=2.5)
    return list(axes)


@styled
def dose(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw how similar the base is to each control against the steps the control was trained (log scale).

    `table` has one row per control with `steps`, `base_similarity`, `cluster` and `learned`: one estimator of the
    findings' table `dose`. Controls that did not learn are hollow. A falling cloud is the dose confound.
    """
    need(table, "steps", "base_similarity", "cluster", "learned")
    axes = axes or blank(3.2)[0]
    rows = table.dropna(subset=["steps", "base_similarity"])
    if rows.empty:
        return blank_because(axes, "No control has both a dose and a defined similarity.")
    for cluster, (colour, marker) in cluster_marks(table["cluster"]).items():
        part = rows[rows["cluster"] == cluster]
        hollow = part["learned"].eq(False).fillna(False).astype(bool)
        axes.plot(part["steps"][~hollow], part["base_similarity"][~hollow], marker, color=colour, ms=4, label=cluster)
        axes.plot(part["steps"][hollow], part["base_similarity"][hollow], marker, color=colour, ms=4, mfc="none")
    axes.set_xscale("log")
    axes.set_xlabel("training steps of the control")
    axes.set_ylabel("similarity of the base, mean over layers")
    missing = len(table) - len(rows)
    axes.set_title(f"Similarity of the base to {len(rows)} controls against their dose (hollow: did not learn)")
    legend_below(axes, f"{missing} controls without a dose or a defined similarity are not drawn." if missing else "")
    return axes


@styled
def controls(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw, for every control, its test loss beside the base's on its own task; a hollow one did not learn.

    `table` has one row per control with `reference`, `task`, `loss`, `base_loss` and `learned`, as the findings' table
    `controls`. Losses are nats per target token.
    """
    need(table, "reference", "task", "loss", "base_loss", "learned")
    rows = table.dropna(subset=["loss"]).sort_values(["task", "reference"], ignore_index=True)
    axes = axes or blank(1.0 + 0.11 * len(rows), width=4.5)[0]
    if rows.empty:
        return blank_because(axes, "No control was evaluated on its own task.")
    y = np.arange(len(rows))
    failed = rows["learned"].eq(False).fillna(False).to_numpy(bool)
    axes.hlines(y, rows["loss"], rows["base_loss"].fillna(rows["loss"]), color="#C8C8C8", linewidth=1)
    axes.plot(rows["base_loss"], y, "o", color=BLUE, markersize=3, label="base")
    axes.plot(rows["loss"][~failed], y[~failed], "s", color=GREY, markersize=3, label="control")
    if failed.any():
        label = f"control that did not learn ({int(failed.sum())})"
        axes.plot(rows["loss"][failed], y[failed], "s", color=VERMILLION, markersize=4, mfc="none", label=label)
    axes.set_yticks(y, rows["reference"], fontsize=5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("test loss, nats per target token")
    axes.set_title(f"Did the controls learn? ({len(rows)} controls)")
    legend_below(axes)
    return axes
