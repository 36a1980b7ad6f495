"""The charts that answer: what tuning changed, whether it helped, figure 2, where it acts, what the base had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.common import HELD_OUT, TUNED, common_tasks
from mossa.analysis.performance import wilson
from mossa.analysis.wording import count
from mossa.report import titles
from mossa.report.colours import BASE, CEILING, GREY, MARKERS, Style, in_order, model_styles
from mossa.report.page.chart import Chart, Panel, Trace, View, band, layer_axis, line, plain, safe
from mossa.report.select import RIBBONS_ABOVE, boxes, reading, tuned_on

NULL = Style("#6F7680", "X", "--")
CHANGED = "difference in similarity"


def group_words(group: str, tasks: int) -> str:
    """Return a group of tasks in words, with how many there are."""
    return f"{count(tasks, 'task')} {'that every tuned model saw' if group == TUNED else group}"


def change_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw the paired difference from the base per layer, on the same tasks for every model."""
    styles = model_styles(findings.curves["experimental"])
    common = findings.common_change[findings.common_change["estimator"].eq(estimator)]
    own = findings.change[findings.change["estimator"].eq(estimator)]
    if own["median"].isna().all():
        return None
    span = _span(pd.concat([common, own]))
    groups = [
        _change_panel(group_words(str(group), int(rows["tasks"].max())), rows, styles, span)
        for group, rows in common.groupby("group", sort=False)
    ]
    alone = [
        _change_panel(f"{model}, {count(int(rows['tasks'].max()), 'task')}", rows, styles, span)
        for model, part in own.groupby("experimental", sort=False)
        for rows in [part[part["population"].eq(tuned_on(part))]]
    ]
    views = [View("the same tasks for every model", groups)] if groups else []
    views.append(View("each model on all tasks it was tuned on", alone))
    how = (
        "Similarity to each task's specialist, tuned model minus base, against the same specialist: median over tasks "
        "with its 95 % interval. Above zero, tuning moved the model towards the specialists."
    )
    return Chart("change", titles.change(findings), how, views)


def _span(rows: pd.DataFrame) -> list[float]:
    ends = rows[["low", "high", "median"]].astype(float)
    low, high = min(0.0, float(np.nanmin(ends))), max(0.0, float(np.nanmax(ends)))
    return [low - 0.06 * (high - low), high + 0.06 * (high - low)]


def _change_panel(title: str, rows: pd.DataFrame, styles: dict[str, Style], span: list[float]) -> Panel:
    data = [
        trace
        for model, part in rows.dropna(subset=["median"]).groupby("experimental", sort=False)
        for trace in line(part, "median", str(model), styles[str(model)], ("q_value", "tasks"), "%{y:+.2f}")
    ]
    y = {"title": {"text": CHANGED}, "range": span, "zeroline": True, "zerolinewidth": 2, "tickformat": "+.2~f"}
    return Panel(title, data, {"height": 300, "xaxis": layer_axis(sorted(rows["layer"].unique())), "yaxis": y})


def performance_chart(findings: Findings) -> Chart | None:
    """Draw exact match and loss per task: base, tuned model and specialist; held-out tasks in a panel of their own."""
    table = findings.performance
    views = [
        View(f"{words}, {model}", _performance_panels(rows, str(model), what, words, findings))
        for what, words in (("accuracy", "exact match"), ("loss", "loss in nats per token"))
        for model, rows in sorted(table.groupby("experimental", sort=False), key=lambda part: not part[1]["held_out"].any())
        if rows[f"tuned_{what}"].notna().any()
    ]
    if not views:
        return None
    how = (
        "One line per task: from the base to the tuned model, and what the specialist reaches. Bars are 95 % intervals "
        "over test prompts. Largest gain on top."
    )
    return Chart("performance", titles.performance(findings), how, views)


def _performance_panels(
    table: pd.DataFrame, model: str, what: str, words: str, findings: Findings
) -> list[Panel]:
    styles = model_styles(findings.curves["experimental"])
    most = 1.0 if what == "accuracy" else float(table[[f"{who}_{what}" for who in ("base", "tuned", "control")]].max().max())
    panels: list[Panel] = []
    for held_out, part in table.groupby("held_out"):
        gain = (part[f"tuned_{what}"] - part[f"base_{what}"]) * (1 if what == "accuracy" else -1)
        rows = part.assign(gain=gain).dropna(subset=["gain"]).sort_values(["gain", "task"])
        if rows.empty:
            continue
        drawn = [("base", BASE, styles[BASE]), ("tuned", model, styles.get(model, NULL)), ("control", "specialist", NULL)]
        data = [_segments(rows, what), *(_dots(rows, f"{who}_{what}", name, style) for who, name, style in drawn)]
        kind = "held out of the model" if held_out else "the model was tuned on"
        worse = f", {int((rows['gain'] < 0).sum())} worse than the base"
        axis = {"title": {"text": words}, "range": [-0.03 * most, 1.03 * most]}
        panels.append(Panel(f"{count(len(rows), 'task')} {kind}{worse}", data, {**_task_axis(rows["task"]), "xaxis": axis}))
    return panels


def _task_axis(tasks: Iterable[object], extra: int = 0) -> dict[str, Any]:
    names = [safe(task, 26) for task in tasks]
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names, "range": [-0.7, len(names) - 0.3]}
    return {"height": 110 + extra + 19 * max(6, len(names)), "yaxis": {**ticks, "zeroline": False, "tickfont": {"size": 11}}}


def _segments(rows: pd.DataFrame, what: str) -> Trace:
    pairs = rows[[f"base_{what}", f"tuned_{what}"]].to_numpy(float)
    return {
        "type": "scatter", "mode": "lines", "x": [x for pair in pairs for x in (*pair, None)], "hoverinfo": "skip",
        "y": [y for place in range(len(rows)) for y in (place, place, None)], "showlegend": False,
        "line": {"color": "--line", "width": 3},
    }  # fmt: skip


def _dots(rows: pd.DataFrame, column: str, name: str, style: Style, marker: dict[str, Any] | None = None) -> Trace:
    trace: Trace = {
        "type": "scatter", "mode": "markers", "name": safe(name), "x": list(rows[column]), "y": list(range(len(rows))),
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


def layers_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw figure 2: boxes per layer, or ribbons of the quartiles above 12 layers, with null and agreement."""
    rows = reading(findings.curves, estimator)
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return None
    tasks = common_tasks(findings.curves, findings.baseline)
    views = [_layers_view(findings, rows[rows["task"].isin(those)], group) for group, those in tasks.items()]
    everything = rows[~rows["held_out"].astype(bool)]
    sets = everything[everything["experimental"].ne(CEILING)].groupby("experimental")["task"].agg(frozenset)
    if sets.nunique() > 1 or not views:
        views.append(_layers_view(findings, everything, "each model on all its own tasks (sets differ)"))
    inside = rows[rows["task"].isin(tasks.get(TUNED, rows["task"].unique()))]
    clusters = inside.groupby("cluster", sort=True)
    views += [_layers_view(findings, part, f"of the cluster {name}") for name, part in clusters] if len(clusters) > 1 else []
    how = (
        "At each layer, the spread over tasks of the similarity to the task's specialist: quartiles and median, "
        "and every task a point where there are few layers. Grey: the base against specialists of other tasks, and two "
        "specialists of one task."
    )
    return Chart("layers", titles.layers(findings, estimator), how, views)


def _layers_view(findings: Findings, rows: pd.DataFrame, group: str) -> View:
    styles = model_styles(findings.curves["experimental"])
    axis = sorted(rows["layer"].unique())
    models = [model for model in in_order(rows["experimental"]) if model != CEILING]
    draw = _ribbon if len(axis) > RIBBONS_ABOVE else _box
    data = [trace for model in models for trace in draw(rows[rows["experimental"].eq(model)], model, styles[model])]
    data += _references(findings, rows)
    sizes = {model: rows.loc[rows["experimental"].eq(model), "task"].nunique() for model in models}
    same = len(set(sizes.values())) == 1
    tasks = count(max(sizes.values()), "task") if same else ", ".join(f"{model} {n}" for model, n in sizes.items())
    label = group_words(group, max(sizes.values())) if group == TUNED or group.startswith(HELD_OUT) else group
    layout = {"height": 400, "xaxis": layer_axis(axis), "boxmode": "group", "boxgap": 0.2, "boxgroupgap": 0.1,
              "yaxis": {"title": {"text": "similarity to the specialist"}}}  # fmt: skip
    return View(label, [Panel(f"n = {tasks}", data, layout)])


def _box(rows: pd.DataFrame, model: str, style: Style) -> Iterator[Trace]:
    table = boxes(rows)
    groups = [part for _, part in rows.groupby("layer")]
    yield {
        "type": "box", "name": safe(model), "x": list(table["layer"]), "hoveron": "points", "boxpoints": "all",
        "jitter": 0.6, "pointpos": 0, "q1": list(table["q1"]), "median": list(table["median"]), "q3": list(table["q3"]),
        "lowerfence": list(table["whisker_low"]), "upperfence": list(table["whisker_high"]),
        "y": [list(part["value"]) for part in groups],
        "text": [[_hover(row) for row in part.to_dict("records")] for part in groups],
        "hovertemplate": "%{text}<extra></extra>", "marker": {"color": f"{style.colour}99", "size": 3.5},
        "line": {"color": style.colour, "width": 1.5}, "fillcolor": f"{style.colour}33",
    }  # fmt: skip


def _hover(row: dict[Any, Any]) -> str:
    interval = f"{row['low']:.3f} to {row['high']:.3f}" if pd.notna(row["low"]) else "unknown"
    n = f"{row['n']:.0f}" if pd.notna(row["n"]) else "unknown"
    return (
        f"<b>{safe(row['task'])}</b><br>{safe(row['cluster'])}<br>{row['value']:.3f} at layer {row['layer']}"
        f"<br>95 % interval {interval}<br>n = {n} prompts"
    )


def _ribbon(rows: pd.DataFrame, model: str, style: Style) -> Iterator[Trace]:
    table = boxes(rows)
    yield from band(table, style.colour, "q1", "q3")
    yield from line(table.drop(columns=["low", "high"]), "median", model, style, ("q1", "q3", "tasks"))


def _references(findings: Findings, rows: pd.DataFrame) -> Iterator[Trace]:
    """Yield the medians of what a similarity is read against, on the same tasks."""
    curves = reading(findings.curves, str(findings.estimator), relations=("other_control", "ceiling"))
    curves = curves[curves["task"].isin(rows["task"].unique()) & curves["value"].notna()]
    null = curves[curves["experimental"].eq(findings.baseline)]
    agreement = curves[curves["experimental"].eq(CEILING)]
    names = (("base to specialists of other tasks", null, NULL), ("two specialists of one task", agreement, AGREEMENT))
    for name, part, style in names:
        if len(part):
            yield from line(boxes(part)[["layer", "median", "tasks"]], "median", name, style, ("tasks",))


AGREEMENT = Style(GREY, "D", ":")


def encoded_chart(findings: Findings, estimator: str, taught: frozenset[str]) -> Chart | None:
    """Draw how close the base is to each specialist, beside its closeness to specialists of other tasks."""
    table = findings.encoded[findings.encoded["estimator"].eq(estimator)]
    rows = table.dropna(subset=["value"]).sort_values(["value", "task"]).reset_index(drop=True)
    if rows.empty:
        return None
    style = model_styles([])[BASE]
    symbols = ["star" if task in taught else "circle" for task in rows["task"]]
    sizes = [13 if task in taught else 9 for task in rows["task"]]
    own = _dots(rows, "value", "base to the task's specialist", style, {"symbol": symbols, "size": sizes})
    own["error_x"] = _bars(rows["value"], rows["low"].to_numpy(float), rows["high"].to_numpy(float), style.colour)
    data = [own]
    for column, name, other in (
        ("other_controls", "base to specialists of other tasks", NULL),
        ("ceiling", "two specialists of the task", AGREEMENT),
    ):
        if rows[column].notna().any():
            data.insert(0, _dots(rows, column, name, other))
    axis = {"title": {"text": "similarity, mean over layers"}, "zeroline": False}
    how = (
        "Mean over layers with its 95 % interval; the grey mark on the same line is what the number is read against. "
        + ("Stars: tasks that this base was taught. " if taught else "")
        + "A specialist that learned little is close for the wrong reason."
    )
    panel = Panel(f"{len(rows)} of {count(len(table), 'task')} with a defined value", data,
                  {**_task_axis(rows["task"]), "xaxis": axis})  # fmt: skip
    return Chart("encoded", titles.encoded(rows, taught), how, [View("", [panel])])


def place_chart(place: pd.DataFrame | None, curves: pd.DataFrame) -> Chart | None:
    """Draw where a task acts: the readings of the table `place` per layer, mean over tasks, if the run has it."""
    if place is None or place.empty or place["value"].isna().all():
        return None
    known = place.dropna(subset=["value"])
    name = "experimental" if "experimental" in known else "task"
    styles = model_styles(curves["experimental"])
    views: list[View] = []
    for what, rows in known.groupby("reading", sort=False):
        data: list[Trace] = []
        for model, part in rows.groupby(name, sort=False):
            table = boxes(part)
            data += [*band(table, styles.get(str(model), NULL).colour, "q1", "q3"),
                     *line(table[["layer", "median", "tasks"]], "median", str(model), styles.get(str(model), NULL), ("tasks",))]  # fmt: skip
        layout = {"height": 320, "xaxis": layer_axis(sorted(rows["layer"].unique())), "yaxis": {"title": {"text": safe(what)}}}
        views.append(View(str(what), [Panel(f"n = {count(rows['task'].nunique(), 'task')}", data, layout)]))
    how = "Median over tasks with quartiles. What a layer itself does, not what it carries from the layers below."
    return Chart("place", titles.place(known), how, views)
