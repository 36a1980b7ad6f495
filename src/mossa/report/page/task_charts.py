"""Charts with one line per task: whether tuning helped or hurt, and what the base already had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.performance import wilson
from mossa.analysis.wording import count
from mossa.report import titles
from mossa.report.colours import BASE, MARKERS, Style, model_styles
from mossa.report.page.chart import AGREEMENT, NULL, Chart, ChartView, Panel, Trace, plain, safe
from mossa.report.select import by_gain


def performance_chart(findings: Findings) -> Chart | None:
    """Draw exact match and loss per task: base, tuned model and specialist; held-out tasks in a separate panel."""
    table = findings.performance
    views = [
        ChartView(f"{words}, {model}", _performance_panels(rows, str(model), what, words, findings))
        for what, words in (("accuracy", "exact match"), ("loss", "loss in nats per token"))
        for model, rows in sorted(
            table.groupby("experimental", sort=False), key=lambda part: not part[1]["held_out"].any()
        )
        if rows[f"tuned_{what}"].notna().any()
    ]
    if not views:
        return None
    how = (
        "One line per task: from the base to the tuned model, and what the specialist reaches. Bars are 95 % intervals "
        "over test prompts. Largest gain on top."
    )
    return Chart("performance", titles.performance(findings), how, views)


def _performance_panels(table: pd.DataFrame, model: str, what: str, words: str, findings: Findings) -> list[Panel]:
    styles = model_styles(findings.curves["experimental"])
    columns = {f"base_{what}": (BASE, styles[BASE]), f"tuned_{what}": (model, styles.get(model, NULL)),
               f"control_{what}": ("specialist", NULL)}  # fmt: skip
    most = 1.0 if what == "accuracy" else float(table[list(columns)].max().max())
    axis = {"title": {"text": words}, "range": [-0.03 * most, 1.03 * most]}
    panels: list[Panel] = []
    for held_out, part in table.groupby("held_out"):
        gain = (part[f"tuned_{what}"] - part[f"base_{what}"]) * (1 if what == "accuracy" else -1)
        rows = by_gain(part.assign(gain=gain))
        if len(rows):
            data = [segments(rows, what), *(dots(rows, column, *drawn) for column, drawn in columns.items())]
            kind = "held out of the model" if held_out else "the model was tuned on"
            title = f"{count(len(rows), 'task')} {kind}, {int((rows['gain'] < 0).sum())} worse than the base"
            panels.append(Panel(title, data, {**task_axis(rows["task"]), "xaxis": axis}))
    return panels


def task_axis(tasks: Iterable[object]) -> dict[str, Any]:
    """Return an axis with one line per task, and the height that it takes."""
    names = [safe(task, 26) for task in tasks]
    axis = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names, "tickfont": {"size": 11},
            "range": [-0.7, len(names) - 0.3], "zeroline": False}  # fmt: skip
    return {"height": 110 + 19 * max(6, len(names)), "yaxis": axis}


def segments(rows: pd.DataFrame, what: str) -> Trace:
    """Return a line per task from `base_<what>` to `tuned_<what>`."""
    pairs = rows[[f"base_{what}", f"tuned_{what}"]].to_numpy(float)
    return {
        "type": "scatter", "mode": "lines", "x": [x for pair in pairs for x in (*pair, None)], "hoverinfo": "skip",
        "y": [y for place in range(len(rows)) for y in (place, place, None)], "showlegend": False,
        "line": {"color": "--line", "width": 3},
    }  # fmt: skip


def dots(rows: pd.DataFrame, column: str, name: str, style: Style, size: int = 9) -> Trace:
    """Return a dot per task, on the line of the table's index, with Wilson's interval where it is a share of `n`."""
    trace: Trace = {
        "type": "scatter", "mode": "markers", "name": safe(name), "x": list(rows[column]), "y": list(rows.index),
        "marker": {"color": style.colour, "symbol": MARKERS[style.marker], "size": size},
        "text": [safe(task) for task in rows["task"]], "customdata": plain(rows[["task", "cluster"]].to_numpy(object)),
        "meta": ["task", "cluster"],
        "hovertemplate": f"%{{text}}<br>%{{customdata[1]}}<br>{safe(name)}: %{{x:.3f}}<extra></extra>",
    }  # fmt: skip
    if column.endswith("accuracy") and "n" in rows:
        low, high = wilson(rows[column].to_numpy(float), rows["n"].to_numpy(float))
        trace |= _bars(rows[column], low, high, style)
    return trace


def _bars(middle: pd.Series, low: Any, high: Any, style: Style) -> Trace:
    up, down = np.nan_to_num(high - middle.to_numpy(float)), np.nan_to_num(middle.to_numpy(float) - low)
    return {"error_x": {"type": "data", "symmetric": False, "array": list(up), "arrayminus": list(down),
                        "thickness": 1, "width": 0, "color": style.colour}}  # fmt: skip


def encoded_chart(findings: Findings, estimator: str, taught: frozenset[str]) -> Chart | None:
    """Draw how close the base is to each specialist, with its closeness to a sham and the agreement of two."""
    table = findings.encoded[findings.encoded["estimator"].eq(estimator)]
    rows = table.dropna(subset=["value"]).sort_values(["value", "task"]).reset_index(drop=True)
    if rows.empty:
        return None
    known, style = rows["task"].isin(taught), model_styles([])[BASE]
    data: list[Trace] = []
    for column, name, other in (
        ("agreement", "two specialists of the task", AGREEMENT),
        ("sham", "base to the one trained on shuffled answers (sham)", NULL),
    ):
        if rows[column].notna().any():
            data.append(dots(rows, column, name, other))
    for part, name, marker, size in (
        (rows[~known], "base to the task's specialist", style.marker, 9),
        (rows[known], "the same, of a task taught to this base", "*", 13),
    ):
        if len(part):
            bars = _bars(part["value"], part["low"].to_numpy(float), part["high"].to_numpy(float), style)
            data.append(dots(part, "value", name, style._replace(marker=marker), size) | bars)
    axis = {"title": {"text": "similarity, mean over layers"}, "zeroline": False}
    how = (
        "Mean over layers with its 95 % interval; grey marks on the same line are what the number is read against. "
        "A specialist that learned little is close for the wrong reason."
    )
    panel = Panel(f"{len(rows)} of {count(len(table), 'task')} with a defined value", data,
                  {**task_axis(rows["task"]), "xaxis": axis})  # fmt: skip
    return Chart("encoded", titles.encoded(rows, taught), how, [ChartView("", [panel])])
