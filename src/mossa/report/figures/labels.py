"""What is written around the axes of a figure: titles, legends, notes, and the numbers of the layers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.transforms import offset_copy

from mossa.report.figures.style import STYLE, root

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SWAP = str.maketrans("_-", "-_")  # textwrap breaks at hyphens


def in_lines(text: str, width: int) -> str:
    """Return a text in lines; a name may break after an underscore, and nothing breaks at a hyphen."""
    return textwrap.fill(text.translate(SWAP), width).translate(SWAP)


def entitle(axes: Axes, text: str, *, beside: float = 0, fontsize: float = STYLE["axes.titlesize"]) -> None:
    """Write a title that wraps at the width of its axes; tick labels take `beside` inches of it."""
    spec = axes.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec else 1
    inches = root(axes).get_figwidth() / columns - 0.6 - beside
    axes.set_title(in_lines(text, max(18, int(inches * 72 / (0.55 * fontsize)))), fontsize=fontsize)


def headline(axes: Axes, text: str) -> None:
    """Write one title over all panels of a figure."""
    figure = root(axes)
    figure.suptitle(in_lines(text, int(figure.get_figwidth() * 14)), x=0.01, ha="left")


def label_width(names: Sequence[str], fontsize: float) -> float:
    """Return roughly how wide the longest of these names is, in inches."""
    return max(map(len, names), default=0) * 0.55 * fontsize / 72


def legend_columns(labels: list[str], width: float) -> int:
    """Return how many columns of these labels fit into `width` inches."""
    return max(1, int(width / (0.45 + 0.055 * max(map(len, labels)))))


def legend_below(axes: Axes, note: str = "") -> None:
    """Put the legend under the axes, where it hides no data, and `note` under it."""
    handles, labels = axes.get_legend_handles_labels()
    inches, lines = root(axes).get_figwidth(), 0
    if labels:
        below = offset_copy(axes.transAxes, root(axes), y=-30, units="points")
        labels = [in_lines(label, int((inches - 1.3) / 0.055)) for label in labels]
        columns = legend_columns(labels, inches - 0.5)
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below}
        axes.legend(handles, labels, ncols=columns, borderaxespad=0, **place)
        lines = -(-sum(label.count("\n") + 1 for label in labels) // columns)
    if note:
        place = {"xytext": (0, -33 - 12 * lines), "xycoords": "axes fraction", "textcoords": "offset points"}
        wrapped = textwrap.fill(note, int((inches - 0.8) * 20))
        axes.annotate(wrapped, (0, 0), fontsize=6, va="top", annotation_clip=False, **place)


def layer_ticks(axes: Axes, layers: list[int]) -> None:
    """Label the layers on x: every one if there is room, else every fourth."""
    inches = axes.get_position().width * root(axes).get_figwidth()
    shown = layers if len(layers) <= 6.5 * inches else [layer for layer in layers if layer % 4 == 0 or layer == 1]
    axes.set_xticks(shown, [str(layer) for layer in shown])
    axes.set_xlim(layers[0] - 0.7, layers[-1] + 0.7)
    axes.set_xlabel("layer")
