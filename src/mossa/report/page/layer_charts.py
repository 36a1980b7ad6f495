"""Charts over layers: what tuning changed, figure 2, where a task acts, separability, dimensions (figure 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.change import HELD_OUT, TUNED, common_tasks
from mossa.analysis.change_words import change_title
from mossa.analysis.wording import count
from mossa.report import titles
from mossa.report.colours import CEILING, Style, in_order, model_styles
from mossa.report.page.chart import (
    AGREEMENT,
    DIFFERENCE,
    NULL,
    Chart,
    ChartView,
    Panel,
    Trace,
    band,
    line,
    lines,
    over_layers,
    safe,
)
from mossa.report.select import RIBBONS_ABOVE, boxes, common, group_words, reading, tuned_on

LABELS = {
    "cluster": "the cluster of a prompt",
    "cluster_of_new_task": "the cluster of a task it was not fitted on",
    "task": "the task",
    "template": "the template (wording alone)",
}


def change_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw the paired difference from the base per layer, on the same tasks for every model."""
    styles = model_styles(findings.curves["experimental"])
    same = findings.common_change[findings.common_change["estimator"].eq(estimator)]
    own = findings.change[findings.change["estimator"].eq(estimator)]
    if own["median"].isna().all():
        return None
    span = _span(pd.concat([same, own]))
    groups = [
        _change_panel(group_words(str(group), int(rows["tasks"].max())), rows, styles, span)
        for group, rows in same.groupby("group", sort=False)
    ]
    alone = [
        _change_panel(f"{model}, {count(int(rows['tasks'].max()), 'task')}", rows, styles, span)
        for model, part in own.groupby("experimental", sort=False)
        for rows in [part[part["population"].eq(tuned_on(part))]]
    ]
    views = [ChartView("the same tasks for every model", groups)] if groups else []
    views.append(ChartView("each model on all tasks it was tuned on", alone))
    how = (
        "Similarity to each task's specialist, tuned model minus base, against the same specialist: median over tasks "
        "with its 95 % interval. Above zero, tuning moved the model towards the specialists."
    )
    return Chart("change", change_title(same[same["group"].eq(TUNED)]), how, views)


def _span(rows: pd.DataFrame) -> list[float]:
    ends = rows[["low", "high", "median"]].astype(float)
    low, high = min(0.0, float(np.nanmin(ends))), max(0.0, float(np.nanmax(ends)))
    return [low - 0.06 * (high - low), high + 0.06 * (high - low)]


def _change_panel(title: str, rows: pd.DataFrame, styles: dict[str, Style], span: list[float]) -> Panel:
    known = rows.dropna(subset=["median"])
    data = lines(known, "experimental", "median", styles, ("q_value", "tasks"), "%{y:+.2f}")
    return over_layers(title, rows, data, "difference in similarity", 300, range=span, **DIFFERENCE)


def layers_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw figure 2: boxes per layer, or ribbons of the quartiles above 12 layers, beside shams and the agreement."""
    rows = reading(findings.curves, estimator)
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return None
    tasks = common_tasks(findings.curves, findings.baseline)
    drawn = {group: rows[rows["task"].isin(those)] for group, those in tasks.items()}
    views = [_layers_view(findings, part, group) for group, part in drawn.items() if len(part)]
    everything = rows[~rows["held_out"].astype(bool)]
    sets = everything[everything["experimental"].ne(CEILING)].groupby("experimental")["task"].agg(frozenset)
    if sets.nunique() > 1 or not views:
        views.append(_layers_view(findings, everything, "each model on all its own tasks (sets differ)"))
    inside = rows[rows["task"].isin(tasks.get(TUNED) or rows["task"].unique())]
    if inside["cluster"].nunique() > 1:
        views += [_layers_view(findings, part, f"of the cluster {name}") for name, part in inside.groupby("cluster")]
    how = (
        "At each layer, the spread over tasks of the similarity to the task's specialist: quartiles and median, "
        "and every task a point where there are few layers. Grey: the base against a sham control (trained on shuffled "
        "answers), where there is one, and two specialists of one task."
    )
    return Chart("layers", titles.most_apart(common(reading(findings.curves, estimator))), how, views)


def _layers_view(findings: Findings, rows: pd.DataFrame, group: str) -> ChartView:
    styles = model_styles(findings.curves["experimental"])
    models = [model for model in in_order(rows["experimental"]) if model != CEILING]
    draw = _ribbon if rows["layer"].nunique() > RIBBONS_ABOVE else _box
    data = [trace for model in models for trace in draw(rows[rows["experimental"].eq(model)], model, styles[model])]
    data += _references(findings, rows)
    sizes = {model: rows.loc[rows["experimental"].eq(model), "task"].nunique() for model in models}
    same = len(set(sizes.values())) == 1
    tasks = count(max(sizes.values()), "task") if same else ", ".join(f"{model} {n}" for model, n in sizes.items())
    label = group_words(group, max(sizes.values())) if group == TUNED or group.startswith(HELD_OUT) else group
    panel = over_layers(f"n = {tasks}", rows, data, "similarity to the specialist", 400)
    panel.layout.update(boxmode="group", boxgap=0.2, boxgroupgap=0.1)
    return ChartView(label, [panel])


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
    """Yield the medians that a similarity is compared with, on the same tasks: sham controls, two specialists."""
    curves = reading(findings.curves, str(findings.estimator), relations=("sham", "ceiling"))
    curves = curves[curves["task"].isin(rows["task"].unique()) & curves["value"].notna()]
    null = curves[curves["experimental"].eq(findings.baseline)]
    agreement = curves[curves["experimental"].eq(CEILING)]
    names = (("base to sham controls", null, NULL), ("two specialists of one task", agreement, AGREEMENT))
    for name, part, style in names:
        if len(part):
            yield from line(boxes(part)[["layer", "median", "tasks"]], "median", name, style, ("tasks",))


def place_chart(place: pd.DataFrame | None, curves: pd.DataFrame) -> Chart | None:
    """Draw where a task acts: the readings of the table `place` per layer, mean over tasks, if the run has it."""
    if place is None or place.empty or place["value"].isna().all():
        return None
    known = place.dropna(subset=["value"])
    name = "experimental" if "experimental" in known else "task"
    styles = model_styles(curves["experimental"])
    views: list[ChartView] = []
    for what, rows in known.groupby("reading", sort=False):
        data: list[Trace] = []
        for model, part in rows.groupby(name, sort=False):
            table = boxes(part)
            style = styles.get(str(model), NULL)
            data += band(table, style.colour, "q1", "q3")
            data += line(table[["layer", "median", "tasks"]], "median", str(model), style, ("tasks",))
        title = f"n = {count(rows['task'].nunique(), 'task')}"
        views.append(ChartView(str(what), [over_layers(title, rows, data, safe(what), 320)]))
    how = "Median over tasks with quartiles. What a layer itself does, not what it carries from the layers below."
    return Chart("place", titles.place(known), how, views)


def separability_chart(findings: Findings) -> Chart | None:
    """Draw, one panel per label, how far above chance a linear classifier reads it off."""
    table = findings.separability
    if table.empty or table["accuracy"].isna().all():
        return None
    rows = table.assign(above=table["accuracy"].astype(float) - table["chance"].astype(float)).dropna(subset=["above"])
    styles = model_styles(findings.curves["experimental"])
    low, high = min(-0.05, float(rows["above"].min())), 1.05 * float(rows["above"].max()) + 0.01
    panels: list[Panel] = []
    for label, part in rows.groupby("label", sort=False):
        data = lines(part, "model", "above", styles, ("accuracy", "chance"))
        title = LABELS.get(str(label), str(label))
        panels.append(over_layers(title, rows, data, "accuracy above chance", 260, range=[low, high]))
    how = "Cross-validated accuracy of a linear classifier minus that of always guessing the largest class."
    return Chart("separability", titles.separability(table), how, [ChartView("", panels)])


def dimensions_chart(findings: Findings) -> Chart | None:
    """Draw figure 5: dimensions that explain 99 % of the variance, mean over tasks."""
    table = findings.dimensionality.dropna(subset=["dimensions_99"])
    if table.empty:
        return None
    styles = model_styles([*findings.curves["experimental"], *table["model"]])
    called = {CEILING: "specialists"}
    data = lines(table, "model", "dimensions_99", styles, ("tasks",), "%{y:.0f} dimensions", called)
    panel = over_layers("", table, data, "dimensions", 320, rangemode="tozero")
    how = "Principal dimensions that explain 99 % of the variance: mean over tasks; band: 95 % interval of the median."
    return Chart("dimensionality", titles.dimensionality(findings.dimensionality), how, [ChartView("", [panel])])
