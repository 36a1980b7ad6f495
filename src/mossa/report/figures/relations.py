"""Who resembles whom: tasks among each other, and the layers of two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import colormaps

from mossa.analysis import dendrogram
from mossa.report import titles
from mossa.report.figures.canvas import across, blank, blank_because, count, entitle, need, root, short, styled
from mossa.report.figures.maps import UNDEFINED

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def leaf_order(table: pd.DataFrame) -> list[str]:
    """Return the tasks so that those which merge early stand together; tasks that cannot be merged come last."""
    merges = dendrogram(table)
    leaves = [*merges["left"].iloc[-1], *merges["right"].iloc[-1]] if len(merges) else []
    return [*leaves, *(task for task in dict.fromkeys(table["task"]) if task not in set(leaves))]


@styled
def affinity(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw the similarity of every control to every other, mean over layers, in the order of the dendrogram.

    `table` is as `mossa.analysis.affinity` returns it; undefined pairs are grey.
    """
    need(table, "layer", "task", "other", "value")
    axes = axes or blank(6.2)[0]
    if table["value"].notna().sum() == 0:
        return blank_because(axes, "No affinity between tasks is defined.")
    order = leaf_order(table)
    mean = table.groupby(["task", "other"])["value"].mean().unstack().reindex(index=order, columns=order)
    place = np.arange(len(order))
    colours = colormaps["cividis"].with_extremes(bad=UNDEFINED)
    image = axes.pcolormesh(place, place, mean.to_numpy(float), cmap=colours, vmin=0, vmax=1, shading="nearest")
    names = [short(task, 24) for task in order]
    axes.set_xticks(place, names, rotation=90, fontsize=5)
    axes.set_yticks(place, names, fontsize=5)
    axes.invert_yaxis()
    axes.grid(visible=False)
    entitle(axes, f"{titles.affinity(mean)}; mean over layers, {count(len(order), 'task')}")
    root(axes).colorbar(image, ax=axes, label="similarity", pad=0.01, aspect=40)
    return axes


@styled
def layer_map(table: pd.DataFrame, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw, per pair of models, the similarity of every layer of one with every layer of the other, mean over tasks.

    `table` is as `mossa.analysis.layer_map` returns it, for any number of tasks.
    """
    need(table, "model", "other", "task", "layer", "other_layer", "value")
    pairs = list(table.groupby(["model", "other"], sort=False))
    columns = across(len(pairs))
    axes = axes or blank(2.9 * -(-max(1, len(pairs)) // columns), -(-max(1, len(pairs)) // columns), columns)
    colours = colormaps["cividis"].with_extremes(bad=UNDEFINED)
    for panel, ((model, other), part) in zip(axes, pairs, strict=False):
        mean = part.groupby(["layer", "other_layer"])["value"].mean().unstack()
        image = panel.pcolormesh(
            mean.columns, mean.index, mean.to_numpy(float), cmap=colours, vmin=0, vmax=1, shading="nearest"
        )
        panel.set_xlabel(f"layer of {short(str(other))}")
        panel.set_ylabel(f"layer of {short(str(model))}")
        entitle(
            panel,
            f"{titles.layer_map([(str(model), str(other), mean)])} ({count(int(part['task'].nunique()), 'task')})",
            fontsize=7.5,
        )
        panel.grid(visible=False)
        root(panel).colorbar(image, ax=panel, label="similarity", pad=0.02)
    for panel in axes[len(pairs) :]:
        panel.set_axis_off()
    return list(axes)
