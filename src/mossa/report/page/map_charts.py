"""Heat maps and clouds of points: correlates, specialists, every task, layer against layer, t-SNE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import Findings, dendrogram
from mossa.analysis.controls import failed
from mossa.analysis.wording import count
from mossa.report import titles
from mossa.report.colours import CEILING, MARKERS, cluster_marks, in_order
from mossa.report.page.chart import Chart, ChartView, Panel, Trace, grid, layer_axis, plain, safe
from mossa.report.select import correlations, grids, reading

MOST_POINTS = 1500
"""Prompts drawn per model and layer in the projection; the page says how many there are."""


def correlates_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw figure 6: correlation over tasks of similarity with what might explain it."""
    table = correlations(findings, estimator)
    table = table[table["experimental"].ne(CEILING)]
    if table.empty:
        return None
    views: list[ChartView] = []
    for method, rows in table.groupby("method", sort=False):
        panels = [_correlates_panel(str(model), part) for model, part in rows.groupby("experimental", sort=False)]
        views.append(ChartView(str(method), panels))
    how = "Correlation over tasks, layer by layer. A dot marks q < .05 (Benjamini-Hochberg over layers)."
    return Chart("correlates", titles.correlates(table[table["method"].eq("pearson")]), how, views)


def _correlates_panel(model: str, rows: pd.DataFrame) -> Panel:
    cells = rows.pivot(index="correlate", columns="layer", values="correlation").reindex(rows["correlate"].unique())
    names = [titles.CORRELATES.get(str(each), str(each)) for each in cells.index]
    sure = rows[rows["q_value"].lt(0.05).fillna(False)]
    dots: Trace = {
        "type": "scatter", "mode": "markers", "x": list(sure["layer"]), "hoverinfo": "skip", "showlegend": False,
        "y": [names[list(cells.index).index(each)] for each in sure["correlate"]],
        "marker": {"size": 5, "color": "--ink"},
    }  # fmt: skip
    heat = grid(cells.to_numpy(float), list(cells.columns), names, -1, 1, "correlation", diverging=True)
    axis = {**layer_axis([int(layer) for layer in cells.columns]), "showgrid": False}
    return Panel(model, [heat, dots], {"height": 110 + 24 * len(names), "xaxis": axis,
                                       "yaxis": {"autorange": "reversed"},
                                       "plot_bgcolor": "--undefined"})  # fmt: skip


def specialists_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw the base's similarity to every specialist against its dose, and losses of specialist and base."""
    dose = findings.dose[findings.dose["estimator"].eq(estimator)].dropna(subset=["steps", "base_similarity"])
    losses = findings.controls.dropna(subset=["loss", "base_loss"])
    views: list[ChartView] = []
    if len(dose):
        panel = _points(dose, "steps", "base_similarity", "training steps of the specialist",
                        "similarity of the base, mean over layers", log=dose["steps"].nunique() > 1)  # fmt: skip
        views.append(ChartView("steps and similarity of the base", [panel]))
    if len(losses):
        words = ("test loss of the base, nats per target token", "test loss of the specialist")
        panel = _points(losses, "base_loss", "loss", *words)
        views.append(ChartView("test loss of specialist and base", [panel]))
    if not views:
        return None
    how = "One point per specialist; hollow: it did not learn its task. A falling cloud is the dose confound."
    return Chart("controls", titles.controls(findings), how, views)


def _points(rows: pd.DataFrame, x: str, y: str, x_words: str, y_words: str, log: bool = False) -> Panel:
    hollow = failed(rows)
    data: list[Trace] = [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": list(part[x]), "y": list(part[y]),
            "marker": {"size": 9, "symbol": symbol, "color": "--ink"},
            "text": [safe(each) for each in part["reference"]],
            "customdata": plain(part[["reference", "cluster"]].to_numpy(object)), "meta": ["specialist", "cluster"],
            "hovertemplate": "%{text}<br>%{customdata[1]}<br>%{x:.3~f}: %{y:.3f}<extra></extra>",
        }
        for part, symbol, name in ((rows[~hollow], "circle", "learned"), (rows[hollow], "circle-open", "did not learn"))
        if len(part)
    ]  # fmt: skip
    ticks = [lead * 10**power for power in range(7) for lead in (1, 2, 5)]
    axis: dict[str, Any] = {"title": {"text": x_words}, **({"type": "log", "tickvals": ticks} if log else {})}
    return Panel("", data, {"height": 380, "xaxis": axis, "yaxis": {"title": {"text": y_words}}})


def heat_chart(findings: Findings, estimator: str) -> Chart | None:
    """Draw every task at every layer, on one scale for every model: similarity 0 to 1, differences ± 0.5."""
    rows = reading(findings.curves, estimator)
    if rows["value"].isna().all():
        return None
    cells = grids(rows)
    views = [
        _heat_view(model if model != CEILING else "two specialists", values, 0.0, 1.0)
        for model, values in cells.items()
    ]
    base = cells.get(findings.baseline)
    for model, values in cells.items():
        if base is not None and model not in (findings.baseline, CEILING):
            views.append(_heat_view(f"{model} minus {findings.baseline}", values - base, -0.5, 0.5))
    how = "One row per task, in the order of its cluster. The scale is the same in every view. Grey: undefined."
    return Chart("heatmap", titles.heatmap(rows), how, views)


def _heat_view(label: str, cells: pd.DataFrame, low: float, high: float) -> ChartView:
    values = cells.to_numpy(float)
    clipped = int(np.sum((values < low) | (values > high)))
    note = (
        f"{clipped} of {np.isfinite(values).sum()} cells lie outside {low:g} to {high:g} and have its last colour."
        if clipped
        else ""
    )
    heat = grid(values, list(cells.columns), list(map(str, cells.index)), low, high, label, diverging=low < 0)
    axis = {**layer_axis([int(layer) for layer in cells.columns]), "showgrid": False}
    layout = {"height": 120 + 18 * max(5, len(cells)), "xaxis": axis, "plot_bgcolor": "--undefined",
              "yaxis": {"autorange": "reversed", "dtick": 1, "tickfont": {"size": 11}}}  # fmt: skip
    return ChartView(label, [Panel("", [heat], layout)], note)


def leaf_order(table: pd.DataFrame) -> list[str]:
    """Return the tasks in an order that puts those that merge early together; tasks that cannot be merged are last."""
    merges = dendrogram(table)
    leaves = [*merges["left"].iloc[-1], *merges["right"].iloc[-1]] if len(merges) else []
    return [*leaves, *(task for task in dict.fromkeys(table["task"]) if task not in set(leaves))]


def relations_charts(findings: Findings) -> list[Chart]:
    """Return the charts of what resembles what: tasks among each other, and the layers of two models."""
    found: list[Chart] = []
    if not findings.affinity.empty and findings.affinity["value"].notna().any():
        order = leaf_order(findings.affinity)
        mean = (
            findings.affinity.groupby(["task", "other"])["value"].mean().unstack().reindex(index=order, columns=order)
        )
        heat = grid(mean.to_numpy(float), [safe(name, 34) for name in order], order, 0, 1, "similarity")
        layout = {"height": 220 + 16 * len(order), "plot_bgcolor": "--undefined",
                  "xaxis": {"tickangle": 90, "dtick": 1},
                  "yaxis": {"autorange": "reversed", "dtick": 1}}  # fmt: skip
        how = "Every specialist with every other on common prompts, mean over layers, in the order in which they merge."
        found.append(Chart("affinity", titles.affinity(mean), how, [ChartView("", [Panel("", [heat], layout)])]))
    if not findings.layer_map.empty and findings.layer_map["value"].notna().any():
        pairs = [
            (str(model), str(other), part.pivot_table(index="layer", columns="other_layer", values="value"))
            for (model, other), part in findings.layer_map.groupby(["model", "other"], sort=False)
        ]
        panels = [_map_panel(*pair) for pair in pairs]
        how = (
            "Similarity of every layer of one model with every layer of the other, mean over tasks; one scale, 0 to 1."
        )
        found.append(Chart("layer-map", titles.layer_map(pairs), how, [ChartView("", panels)]))
    return found


def _map_panel(model: str, other: str, table: pd.DataFrame) -> Panel:
    heat = grid(table.to_numpy(float), list(table.columns), list(map(str, table.index)), 0, 1, "similarity")
    heat["y"] = list(table.index)
    sides = (([int(layer) for layer in side], name) for side, name in ((table.columns, other), (table.index, model)))
    axes = [
        {**layer_axis(layers), "title": {"text": f"layer of {safe(name)}"}, "showgrid": False} for layers, name in sides
    ]
    return Panel(
        f"{model} and {other}",
        [heat],
        {"height": 380, "xaxis": axes[0], "yaxis": axes[1], "plot_bgcolor": "--undefined"},
    )


def projection_chart(findings: Findings) -> Chart | None:
    """Draw figure 4: the map of the prompts of all tasks, one view per layer, with every cluster's name on it."""
    table = findings.projection
    if table.empty or table["x"].isna().all():
        return None
    marks = cluster_marks(findings.curves["cluster"])
    views = [
        ChartView(
            f"layer {layer}",
            [_map_of_prompts(model, part[part["model"].eq(model)], marks) for model in in_order(part["model"])],
        )
        for layer, part in table.groupby("layer")
    ]
    middle = len(views) // 2
    how = (
        "t-SNE of the last-token representations of all tasks' prompts, coloured by cluster. Distances between groups "
        "and the size of a group mean nothing here; what can be told apart is measured above."
    )
    return Chart("projection", "A map of the prompts, for orientation only", how, [*views[middle:], *views[:middle]])


def _map_of_prompts(model: str, rows: pd.DataFrame, marks: Any) -> Panel:
    kept = rows.iloc[:: max(1, math.ceil(len(rows) / MOST_POINTS))]
    data: list[Trace] = []
    for cluster, part in kept.groupby("cluster"):
        colour, marker = marks[cluster]
        data.append(
            {"type": "scatter", "mode": "markers", "name": safe(cluster), "x": [round(float(x), 1) for x in part["x"]],
             "y": [round(float(y), 1) for y in part["y"]], "text": [safe(task) for task in part["task"]],
             "marker": {"color": colour, "symbol": MARKERS[marker], "size": 5, "opacity": 0.75},
             "hovertemplate": f"%{{text}}<br>{safe(cluster)}<extra></extra>"}
        )  # fmt: skip
    centres = kept.groupby("cluster")[["x", "y"]].median()
    names = [
        {"x": x, "y": y, "text": safe(cluster, 22), "showarrow": False, "bgcolor": "--veil", "font": {"size": 11}}
        for cluster, (x, y) in zip(centres.index, centres.to_numpy(float), strict=True)
    ]
    bare = {"showticklabels": False, "zeroline": False, "showgrid": False, "showline": True, "mirror": True}
    title = f"{model}: {len(kept):,} of {count(len(rows), 'prompt')} drawn"
    return Panel(
        title, data, {"height": 440, "xaxis": bare, "yaxis": {**bare, "scaleanchor": "x"}, "annotations": names}
    )
