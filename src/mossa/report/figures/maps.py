"""Colour maps: task by layer, correlate by layer (figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.collections import QuadMesh

from mossa.analysis.wording import short
from mossa.report import titles
from mossa.report.colours import CEILING, in_order
from mossa.report.figures.labels import entitle, headline, label_width, layer_ticks
from mossa.report.figures.style import blank, blank_because, need, styled
from mossa.report.select import grids

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNDEFINED = "#D0D0D0"
SIGNIFICANT = 0.05


@styled
def heatmap(table: pd.DataFrame, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw one panel per model: similarity to the control, a row per task sorted by cluster, a column per layer.

    `table` is as in `figures.layers` with a column `cluster`; undefined values are grey. The scale is 0 to 1 in every
    study; a value below 0 has the colour of 0.
    """
    need(table, ("experimental", "task", "layer"), "cluster", "value")
    cells = {model: grid for model, grid in grids(table).items() if model != CEILING}
    order = table[["cluster", "task"]].drop_duplicates().sort_values(["cluster", "task"])
    if axes is None:
        axes = blank(1.2 + 0.105 * len(order), 1, max(1, len(cells)))
    names = [short(task) for task in order["task"]]
    layers = sorted(table["layer"].unique())
    image = None
    for panel, (model, grid) in zip(axes, cells.items(), strict=False):
        image = _cells(panel, layers, grid.to_numpy(float), "cividis", 0)
        panel.set_title(short(model))
        panel.set_xlabel("layer")
        edges = np.flatnonzero(order["cluster"].to_numpy()[1:] != order["cluster"].to_numpy()[:-1])
        panel.hlines(edges + 0.5, layers[0] - 0.5, layers[-1] + 0.5, color="white", linewidth=0.8)
        panel.set_yticks(np.arange(len(order)), names if panel is axes[0] else [""] * len(order), fontsize=5)
    if image is None:
        return [blank_because(axes[0], "No similarity was measured.")]
    axes[0].figure.colorbar(image, ax=list(axes), label="similarity to the specialist", aspect=40, pad=0.01)
    headline(axes[0], titles.heatmap(table))
    return list(axes)


def _cells(axes: Axes, layers: list[int], values: Any, colours: str, least: int) -> QuadMesh:
    """Draw values `[rows, L]`, the first row on top, on a scale from `least` to 1; undefined ones are grey."""
    axes.set_facecolor(UNDEFINED)
    axes.grid(visible=False)
    cmap = colormaps[colours].with_extremes(bad=UNDEFINED)
    drawn = axes.pcolormesh(layers, np.arange(len(values)), values, cmap=cmap, vmin=least, vmax=1, shading="nearest")
    axes.set_ylim(len(values) - 0.5, -0.5)
    return drawn


@styled
def correlates(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw figure 6: correlation over tasks of similarity with possible explanations of it, per layer and model.

    `table` has one row per (experimental, correlate, layer) with `correlation` and `q_value`: one estimator and one
    method of the findings' table `correlates`. Bold figures have q < .05; grey cells are undefined.
    """
    need(table, ("experimental", "correlate", "layer"), "correlation", "q_value")
    there = set(zip(table["correlate"], table["experimental"], strict=True))
    models = [model for model in in_order(table["experimental"]) if model != CEILING]
    pairs = [(name, model) for name in dict.fromkeys(table["correlate"]) for model in models if (name, model) in there]
    axes = axes or blank(0.9 + 0.2 * len(pairs))[0]
    if table["correlation"].notna().sum() == 0:
        return blank_because(axes, "No correlation could be computed.")
    layers = sorted(table["layer"].unique())
    by = table.set_index(["correlate", "experimental", "layer"])
    grids = {
        column: by[column].astype(float).unstack("layer").reindex(index=pairs, columns=layers).to_numpy()
        for column in ("correlation", "q_value")
    }
    image = _cells(axes, layers, grids["correlation"], "RdBu_r", -1)
    for (row, column), value in np.ndenumerate(grids["correlation"]):
        if np.isfinite(value) and len(layers) <= 40:
            sure = grids["q_value"][row, column] < SIGNIFICANT
            dark = "white" if abs(value) > 0.65 else "black"
            text = f"{value:.2f}".replace("0.", ".").replace("-.00", ".00")
            weight = "bold" if sure else "normal"
            axes.text(layers[column], row, text, ha="center", va="center", fontsize=3.8, color=dark, weight=weight)
    labels = [f"{titles.CORRELATES.get(correlate, correlate)} · {short(model)}" for correlate, model in pairs]
    axes.set_yticks(np.arange(len(pairs)), labels)
    layer_ticks(axes, layers)
    axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    entitle(axes, f"{titles.correlates(table)} (bold: q < .05; grey: undefined)", beside=1 + label_width(labels, 7))
    axes.figure.colorbar(image, ax=axes, label="correlation", pad=0.01, aspect=25, fraction=0.04)
    return axes
