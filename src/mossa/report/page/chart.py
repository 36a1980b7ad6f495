"""The charts of the page: views to choose from, each with panels side by side, as plotly's own JSON."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mossa.analysis.wording import number, short
from mossa.report.colours import BLUE, DASHES, GREY, MARKERS, VERMILLION, Style, in_order

Trace = dict[str, Any]
NULL, AGREEMENT = Style(GREY, "X", "--"), Style(GREY, "D", ":")
"""Styles of what a similarity is compared with: sham controls, and two controls of one task."""
DIFFERENCE: Mapping[str, Any] = {"zeroline": True, "zerolinewidth": 2, "tickformat": "+.2~f"}
"""An axis that shows a difference."""


class Panel(NamedTuple):
    """One plot: its title, plotly's traces, and what its layout adds to that of the page."""

    title: str
    data: list[Trace]
    layout: dict[str, Any]


class ChartView(NamedTuple):
    """One choice of what a chart shows; `note` counts tasks and says what is not drawn."""

    label: str
    panels: list[Panel]
    note: str = ""


class Chart(NamedTuple):
    """A chart: the name of its files, a title that concludes, how to read it, and its views, the default first."""

    name: str
    title: str
    how: str
    views: list[ChartView]

    def as_json(self) -> dict[str, Any]:
        """Return what the scripts of the page draw."""
        views = [
            {"note": view.note, "panels": [{**panel._asdict(), "alt": alternative(panel)} for panel in view.panels]}
            for view in self.views
        ]
        return plain({"name": self.name, "title": self.title, "views": views})


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: numbers rounded to four decimals, null for NaN and missing."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, pd.Series, np.ndarray, pd.Index)):
        return [plain(each) for each in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if math.isfinite(value) else None
    return str(value)


def safe(text: object, longest: int = 60) -> str:
    """Return escaped text, because plotly interprets a subset of HTML; a long name ends in an ellipsis."""
    return html.escape(short(str(text), longest), quote=False)


def layer_axis(layers: Sequence[Any], **more: Any) -> dict[str, Any]:
    """Return an axis of whole layers, every one labelled up to 16, else every fourth; `more` settings are added."""
    step = 4 if len(layers) > 16 else 1
    ends = [min(layers) - 0.6, max(layers) + 0.6] if len(layers) else [0, 1]
    return {"title": {"text": "layer"}, "range": ends, "dtick": step, "tick0": step, "zeroline": False, **more}


def over_layers(title: str, rows: pd.DataFrame, data: list[Trace], y: str, height: int, **axis: Any) -> Panel:
    """Return a plot over the layers of `rows`; `y` is what its other axis shows, and `axis` more settings of that."""
    axes = {"xaxis": layer_axis(sorted(rows["layer"].unique())), "yaxis": {"title": {"text": y}, **axis}}
    return Panel(title, data, {"height": height, **axes})


def line(
    rows: pd.DataFrame,
    y: str,
    name: str,
    style: Style,
    extra: Iterable[str] = (),
    unit: str = "%{y:.2f}",
    x: str = "layer",
) -> list[Trace]:
    """Return one line over layers, or another column `x`, with the band of its columns `low` and `high` if known.

    The columns of `extra` go into hover text and CSV; a dash tells lines apart without colour too.
    """
    columns = [name for name in ("low", "high", *extra) if name in rows.columns]
    texts = [f"{column} %{{customdata[{place}]}}" for place, column in enumerate(columns)]
    drawn: Trace = {
        "type": "scatter", "mode": "lines+markers", "name": safe(name), "x": list(rows[x]), "y": list(rows[y]),
        "line": {"color": style.colour, "dash": DASHES[style.dash], "width": 2.5},
        "marker": {"color": style.colour, "symbol": MARKERS[style.marker], "size": 7 if len(rows) <= 16 else 5},
        "customdata": plain(rows[columns].to_numpy(object)), "meta": columns,
        "hovertemplate": "<br>".join([f"{safe(name)}, {x} %{{x}}: {unit}", *texts]) + "<extra></extra>",
    }  # fmt: skip
    return [*band(rows, style.colour), drawn]


def lines(
    rows: pd.DataFrame,
    by: str,
    y: str,
    styles: Mapping[str, Style],
    extra: Iterable[str] = (),
    unit: str = "%{y:.2f}",
    called: Mapping[str, str] | None = None,
) -> list[Trace]:
    """Return a `line` for each model in the column `by`, the base first, named as in `called` if it is there."""
    parts = {model: rows[rows[by].eq(model)].sort_values("layer") for model in in_order(rows[by])}
    names = called or {}
    return [
        trace
        for model, part in parts.items()
        for trace in line(part, y, names.get(model, model), styles[model], extra, unit)
    ]


def band(rows: pd.DataFrame, colour: str, low: str = "low", high: str = "high") -> list[Trace]:
    """Return the area between two columns over layers, or nothing where they are not known."""
    known = rows.dropna(subset=[low, high]) if {low, high} <= set(rows.columns) else rows.iloc[:0]
    if known.empty:
        return []
    x, upper, lower = list(known["layer"]), list(known[high].astype(float)), list(known[low].astype(float))
    return [
        {"type": "scatter", "mode": "lines", "x": [*x, *x[::-1]], "y": [*upper, *lower[::-1]], "fill": "toself",
         "fillcolor": f"{colour}26", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    ]  # fmt: skip


def grid(cells: pd.DataFrame, low: float, high: float, title: str, unit: str = "") -> Trace:
    """Return a heat map on a fixed scale, labelled `unit`: the same colour is the same number in every view."""
    scale = [[0, BLUE], [0.5, "--panel"], [1, VERMILLION]] if low < 0 else "Cividis"
    return {
        "type": "heatmap", "z": cells.to_numpy(float), "x": list(cells.columns),
        "y": [safe(name, 34) for name in cells.index], "zmin": low, "zmax": high,
        "colorscale": scale, "xgap": 1, "ygap": 1, "hoverongaps": True, "name": title,
        "hovertemplate": f"%{{y}}<br>%{{x}}: %{{z:.2f}}<extra>{title}</extra>",
        "colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"text": unit or title, "side": "right"}},
    }  # fmt: skip


def alternative(panel: Panel) -> str:
    """Return the panel in words: where every line starts, ends and is highest, or the range of the other values."""
    parts = [panel.title, *(filter(None, map(_in_words, panel.data)))]
    return html.unescape(". ".join(part for part in parts if part))


def _in_words(trace: Trace) -> str:
    if trace.get("hoverinfo") == "skip":
        return ""
    if trace["type"] == "heatmap":
        known = pd.to_numeric(pd.Series(np.ravel(np.asarray(trace["z"], dtype=object))), errors="coerce").dropna()
        span = f"from {number(known.min())} to {number(known.max())}" if len(known) else "all undefined"
        return f"{len(trace['y'])} rows by {len(trace['x'])} columns, {trace['name']} {span}"
    values = trace["median"] if trace["type"] == "box" else trace["y" if trace["mode"] != "markers" else "x"]
    known = [(x, y) for x, y in zip(trace["x"], values, strict=True) if isinstance(y, (int, float)) and y == y]
    if not known:
        return ""
    if trace.get("mode") == "markers":
        numbers = [y for _, y in known]
        return f"{trace['name']}: {len(known)} points from {number(min(numbers))} to {number(max(numbers))}"
    top = max(known, key=lambda point: point[1])
    ends = f"{number(known[0][1])} at {known[0][0]}, {number(known[-1][1])} at {known[-1][0]}"
    return f"{trace['name']}: {ends}, highest {number(top[1])} at {top[0]}"
