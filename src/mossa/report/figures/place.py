"""Where an update acts: every reading of place per layer, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mossa.report import titles
from mossa.report.colours import BLUE, GREY
from mossa.report.figures.canvas import across, blank, blank_because, headline, layer_ticks, need, once, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def place(table: pd.DataFrame) -> list[Axes]:
    """Draw one panel per reading of a table with one row per (layer, reading): a bar per layer and its 95 % interval.

    Layers without a value are left out; a reading that has none says why.
    """
    need(table, "layer", "reading", "value", "low", "high", "reason")
    once(table, "layer", "reading")
    readings = list(dict.fromkeys(table["reading"]))
    columns = across(len(readings), least=1.6)
    down = -(-max(1, len(readings)) // columns)
    panels = blank(0.4 + 1.5 * down, down, columns)
    for axes, reading in zip(panels, readings, strict=False):
        _panel(axes, table[table["reading"].eq(reading)].sort_values("layer"), reading)
    for axes in panels[len(readings) :]:
        axes.set_axis_off()
    known = table.dropna(subset=["value"])
    headline(panels[0], titles.place(known) if len(known) else "Where it acts is not known")
    return panels


def _panel(axes: Axes, rows: pd.DataFrame, reading: str) -> None:
    axes.set_title(short(reading), fontsize=7)
    defined = rows.dropna(subset=["value"]).astype({"value": float, "low": float, "high": float})
    if defined.empty:
        blank_because(axes, str(rows["reason"].iloc[0]))
        return
    axes.axhline(0, color=GREY, linewidth=0.7)
    below, above = defined["value"] - defined["low"], defined["high"] - defined["value"]
    axes.bar(defined["layer"], defined["value"], color=BLUE, width=0.7)
    axes.errorbar(
        defined["layer"], defined["value"], [below, above], fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5
    )
    layer_ticks(axes, rows["layer"].astype(int).tolist())
