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
    most = (
        1.0
        if what == "accuracy"
        else float(table[[f"{who}_{what}" for who in ("base", "tuned", "control")]].max().max())
    )
    panels: list[Panel] = []
    for held_out, part in table.groupby("held_out"):
        gain = (part[f"tuned_{what}"] - part[f"base_{what}"]) * (1 if what == "accuracy" else -1)
        rows = by_gain(part.assign(gain=gain))
        if rows.empty:
            continue
        drawn = [
            ("base", BASE, styles[BASE]),
            ("tuned", model, styles.get(model, NULL)),
            ("control", "specialist", NULL),
        ]
        data = [segments(rows, what), *(dots(rows, f"{who}_{what}", name, style) for who, name, style in drawn)]
        kind = "held out of the model" if held_out else "the model was tuned on"
        worse = f", {int((rows['gain'] < 0).sum())} worse than the base"
        axis = {"title": {"text": words}, "range": [-0.03 * most, 1.03 * most]}
        panels.append(
            Panel(f"{count(len(rows), 'task')} {kind}{worse}", data, {**task_axis(rows["task"]), "xaxis": axis})
        )
    return panels


def task_axis(tasks: Iterable[object]) -> dict[str, Any]:
    """Return an axis with one line per task, and the height that it takes."""
    names = [safe(task, 26) for task in tasks]
    ticks = {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": names,
        "range": [-0.7, len(names) - 0.3],
    }
    return {
        "height": 110 + 19 * max(6, len(names)),
        "yaxis": {**ticks, "zeroline": False, "tickfont": {"size": 11}},
    }


def segments(rows: pd.DataFrame, what: str) -> Trace:
    """Return a line per task from `base_<what>` to `tuned_<what>`."""
    pairs = rows[[f"base_{what}", f"tuned_{what}"]].to_numpy(float)
    return {
        "type": "scatter", "mode": "lines", "x": [x for pair in pairs for x in (*pair, None)], "hoverinfo": "skip",
        "y": [y for place in range(len(rows)) for y in (place, place, None)], "showlegend": False,
        "line": {"color": "--line", "width": 3},
    }  # fmt: skip


def dots(rows: pd.DataFrame, column: str, name: str, style: Style, marker: dict[str, Any] | None = None) -> Trace:
    """Return a dot per task, on the line of the table's index, with Wilson's interval where it is a share of `n`."""
    trace: Trace = {
        "type": "scatter", "mode": "markers", "name": safe(name), "x": list(rows[column]), "y": list(rows.index),
        "marker": {"color": style.colour, "symbol": MARKERS[style.marker], "size": 9, **(marker or {})},
        "text": [safe(task) for task in rows["task"]], "customdata": plain(rows[["task", "cluster"]].to_numpy(object)),
        "meta": ["task", "cluster"],
        "hovertemplate": f"%{{text}}<br>%{{customdata[1]}}<br>{safe(name)}: %{{x:.3f}}<extra></extra>",
    }  # fmt: skip
    if column.endswith("accuracy") and "n" in rows:
        low, high = wilson(rows[column].to_numpy(float), rows["n"].to_numpy(float))
        trace["error_x"] = _bars(rows[column], low, high, style.colour)
    return trace


def _bars(middle: pd.Series, low: Any, high: Any, colour: str) -> dict[str, Any]:
    up, down = np.nan_to_num(high - middle.to_numpy(float)), np.nan_to_num(middle.to_numpy(float) - low)
    return {"type": "data", "symmetric": False, "array": list(up), "arrayminus": list(down), "thickness": 1, "width": 0,
            "color": colour}  # fmt: skip


def encoded_chart(findings: Findings, estimator: str, taught: frozenset[str]) -> Chart | None:
    """Draw how close the base is to each specialist, with its closeness to a sham and the agreement of two."""
    table = findings.encoded[findings.encoded["estimator"].eq(estimator)]
    rows = table.dropna(subset=["value"]).sort_values(["value", "task"]).reset_index(drop=True)
    if rows.empty:
        return None
    style = model_styles([])[BASE]
    known = rows["task"].isin(taught)
    data: list[Trace] = []
    for part, name, marker in (
        (rows[~known], "base to the task's specialist", {}),
        (rows[known], "the same, of a task taught to this base", {"symbol": "star", "size": 13}),
    ):
        if len(part):
            drawn = dots(part, "value", name, style, marker)
            data.append(
                {
                    **drawn,
                    "error_x": _bars(
                        part["value"], part["low"].to_numpy(float), part["high"].to_numpy(float), style.colour
                    ),
                }
            )
    for column, name, other in (
        ("sham", "base to the one trained on shuffled answers (sham)", NULL),
        ("agreement", "two specialists of the task", AGREEMENT),
    ):
        if rows[column].notna().any():
            data.insert(0, dots(rows, column, name, other))
    axis = {"title": {"text": "similarity, mean over layers"}, "zeroline": False}
    how = (
        "Mean over layers with its 95 % interval; grey marks on the same line are what the number is read against. "
        + "A specialist that learned little is close for the wrong reason."
    )
    panel = Panel(f"{len(rows)} of {count(len(table), 'task')} with a defined value", data,
                  {**task_axis(rows["task"]), "xaxis": axis})  # fmt: skip
    return Chart("encoded", titles.encoded(rows, taught), how, [ChartView("", [panel])])
