"""How all figures look, without pyplot: style, blank panels, and PDF, SVG and PNG that repeat to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mossa.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

P = ParamSpec("P")
R = TypeVar("R")

FORMATS = ("pdf", "svg", "png")
TEXT_WIDTH, COLUMN_WIDTH = 7.0, 3.35
"""Inches: the width of a two-column page, and of one of its columns."""
RESOLUTION = 300
"""Dots per inch of a PNG."""
_width: ContextVar[float] = ContextVar("width", default=TEXT_WIDTH)

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "figure.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "image.cmap": "cividis",
    "pdf.fonttype": 42,
    "svg.hashsalt": "mossa",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


class NotebookFigure(Figure):
    """A figure that a notebook shows although no pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        self.savefig(written, format="png", dpi=110)
        return written.getvalue()


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let `draw` use `STYLE` and leave matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


@contextmanager
def drawn_at(width: float) -> Iterator[None]:
    """Draw every new figure of the block as wide as `width` inches."""
    token = _width.set(width)
    try:
        yield
    finally:
        _width.reset(token)


def across(panels: int, most: int = 3, least: float = 2.3) -> int:
    """Return how many of these panels, each at least `least` inches wide, stand side by side in a new figure."""
    return max(1, min(panels, most, int(_width.get() / least)))


def same_height(axes: Sequence[Axes]) -> None:
    """Give all panels the same range of y, wide enough for everything drawn in them."""
    ends = [panel.get_ylim() for panel in axes]
    for panel in axes:
        panel.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def blank(height: float, rows: int = 1, columns: int = 1) -> list[Axes]:
    """Return the axes of a new figure, row by row; `height` in inches."""
    figure = NotebookFigure(figsize=(_width.get(), height), layout="constrained")
    FigureCanvasAgg(figure)
    return list(figure.subplots(rows, columns, squeeze=False).ravel())


def panels(
    given: Sequence[Axes] | None, count: int, height: float, *, head: float = 0.4, least: float = 2.3
) -> list[Axes]:
    """Return at least `count` axes: those `given`, else those of a new figure, with the unused ones switched off.

    In a new figure each row is `height` inches high, each panel at least `least` wide, and `head` inches are added.
    """
    columns = across(count, least=least)
    rows = -(-max(1, count) // columns)
    axes = list(given) if given is not None else blank(head + height * rows, rows, columns)
    for unused in axes[count:]:
        unused.set_axis_off()
    return axes


def root(axes: Axes) -> Figure:
    """Return the figure that holds `axes`."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise DataError("The axes belong to no figure, so nothing can be drawn on them.")
    return figure


@styled
def save(figure: Figure, stem: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `figure` as `stem`.pdf, .svg and .png (or some of these) without times in them, and return the paths."""
    before, layout, dpi = figure.canvas, figure.get_layout_engine(), figure.dpi
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in formats]
    for kind, path in zip(formats, paths, strict=True):
        # directly by the canvas of the format, because `Figure.savefig` draws everything twice
        if kind == "pdf":
            FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None})
        elif kind == "svg":
            FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})
        else:
            figure.set_dpi(RESOLUTION)
            FigureCanvasAgg(figure).print_png(path)
        figure.set_layout_engine("none")  # laid out once, not again for every format
    figure.set_dpi(dpi)
    figure.set_layout_engine(layout)
    figure.set_canvas(before)
    return paths


def need(table: pd.DataFrame, key: Sequence[str], *columns: str) -> None:
    """Raise `DataError` naming the first column that a figure needs and the table lacks, or two rows that share a key.

    Such rows would be points from two estimators or controls in one line. Without a key, rows may repeat.
    """
    for column in (*key, *columns):
        if column not in table.columns:
            there = ", ".join(map(str, table.columns)) or "(none)"
            raise DataError(f"The figure needs a column {column!r}; the table has {there}.")
    if key and table.duplicated(list(key)).any():
        row = table.loc[table.duplicated(list(key))].iloc[0]
        values = ", ".join(f"{column} = {row[column]}" for column in key)
        raise DataError(
            f"The figure needs one row per ({', '.join(key)}); there are two for {values}. "
            "Choose one estimator, one relation and one reference first, for example with "
            "mossa.report.select.reading."
        )


def blank_because(axes: Axes | None, reason: str) -> Axes:
    """Say in the middle of `axes`, or of a new figure, why nothing is drawn."""
    axes = axes or blank(1.5)[0]
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes, wrap=True, fontsize=8)
    return axes
