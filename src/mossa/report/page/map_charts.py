"""Heat maps and clouds of points: correlates, specialists, every task, layer against layer, t-SNE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import Findings, dendrogram
from mossa.analysis.controls import failed
from mossa.analysis.headline import checks
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
    how = (
        "Correlation over tasks, layer by layer. A dot marks q < .05 (Benjamini-Hochberg over layers). Grey: "
        "undefined, for example because all tasks have the same value."
    )
    return Chart("correlates", titles.correlates(table[table["method"].eq("pearson")]), how, views)


def _correlates_panel(model: str, rows: pd.DataFrame) -> Panel:
    rows = rows.replace({"correlate": titles.CORRELATES})
    cells = rows.pivot(index="correlate", columns="layer", values="correlation").reindex(rows["correlate"].unique())
    sure = rows[rows["q_value"].lt(0.05).fillna(False)]
    dots: Trace = {
        "type": "scatter", "mode": "markers", "x": list(sure["layer"]), "y": list(sure["correlate"]),
        "hoverinfo": "skip", "showlegend": False, "marker": {"size": 5, "color": "--ink"},
    }  # fmt: skip
    axis = _cells_axis(cells.columns)
    return _map(model, [grid(cells, -1, 1, "correlation"), dots], 110 + 24 * len(cells), axis)


def _map(title: str, data: list[Trace], height: int, x: dict[str, Any], **y: Any) -> Panel:
    """Return a heat map whose first row is on top; undefined cells show the grey behind it."""
    y = {"autorange": "reversed", **y}
    return Panel(title, data, {"height": height, "xaxis": x, "yaxis": y, "plot_bgcolor": "--undefined"})


def _cells_axis(layers: pd.Index[Any], **more: Any) -> dict[str, Any]:
    """Return an axis of layers that ends where the cells end, so that no grey is left beside them."""
    return layer_axis(list(layers), range=[min(layers) - 0.5, max(layers) + 0.5], showgrid=False, **more)


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
    met = next(checks(findings)).sentence.removesuffix(".")
    return Chart("controls", met, how, views)


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
    how = "One row per task, sorted by cluster. The scale is the same in every view. Grey: undefined."
    return Chart("heatmap", titles.heatmap(rows), how, views)


def _heat_view(label: str, cells: pd.DataFrame, low: float, high: float) -> ChartView:
    values = cells.to_numpy(float)
    clipped = int(np.sum((values < low) | (values > high)))
    note = f"{clipped} of {np.isfinite(values).sum()} cells lie outside {low:g} to {high:g} and have its last colour."
    axis, unit = _cells_axis(cells.columns), "difference" if low else "similarity"
    height = 120 + 18 * max(5, len(cells))
    panel = _map("", [grid(cells, low, high, label, unit)], height, axis, dtick=1, tickfont={"size": 11})
    return ChartView(label, [panel], note if clipped else "")


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
        mean = findings.affinity.groupby(["task", "other"])["value"].mean().unstack()
        mean = mean.reindex(index=order, columns=order)
        heat = grid(mean.rename(columns=lambda name: safe(name, 34)), 0, 1, "similarity")
        panel = _map("", [heat], 220 + 16 * len(order), {"tickangle": 90, "dtick": 1}, dtick=1)
        how = "Every specialist with every other on common prompts, mean over layers, in the order in which they merge."
        found.append(Chart("affinity", titles.affinity(mean), how, [ChartView("", [panel])]))
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
    heat = grid(table, 0, 1, "similarity") | {"y": list(table.index)}
    x, y = (
        _cells_axis(side, title={"text": f"layer of {safe(name)}"})
        for side, name in ((table.columns, other), (table.index, model))
    )
    layout = {"height": 380, "xaxis": x, "yaxis": y, "plot_bgcolor": "--undefined"}
    return Panel(f"{model} and {other}", [heat], layout)


def projection_chart(findings: Findings) -> Chart | None:
    """Draw figure 4: the map of the prompts of all tasks, one view per layer, with every cluster's name on it."""
    table = findings.projection
    if table.empty or table["x"].isna().all():
        return None
    marks = cluster_marks(findings.curves["cluster"])
    views: list[ChartView] = []
    for layer, part in table.groupby("layer"):
        parts = {model: part[part["model"].eq(model)] for model in in_order(part["model"])}
        views.append(ChartView(f"layer {layer}", [_map_of_prompts(*each, marks) for each in parts.items()]))
    middle = len(views) // 2
    how = (
        "t-SNE of the last-token representations of all tasks' prompts, coloured by cluster. Distances between groups "
        "and the size of a group mean nothing here; what can be told apart is measured above."
    )
    return Chart("projection", "A map of the prompts, for orientation only", how, [*views[middle:], *views[:middle]])


def apart(centres: np.ndarray[Any, Any]) -> list[tuple[float, float]]:
    """Return where names at the points `[n, 2]` stand: moved up where one would cover another."""
    width, height = (share * max(1e-9, float(np.ptp(centres, axis=0).max())) for share in (0.4, 0.05))
    placed: dict[int, tuple[float, float]] = {}
    for place in np.argsort(centres[:, 1]):
        x, y = map(float, centres[place])
        for other_x, other_y in sorted(placed.values(), key=lambda point: point[1]):
            if abs(x - other_x) < width and abs(y - other_y) < height:
                y = other_y + height
        placed[int(place)] = x, y
    return [placed[place] for place in range(len(centres))]


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
        for cluster, (x, y) in zip(centres.index, apart(centres.to_numpy(float)), strict=True)
    ]
    bare = {"showticklabels": False, "zeroline": False, "showgrid": False, "showline": True, "mirror": True}
    title = f"{model}: {len(kept):,} of {count(len(rows), 'prompt')} drawn"
    return Panel(
        title, data, {"height": 440, "xaxis": bare, "yaxis": {**bare, "scaleanchor": "x"}, "annotations": names}
    )
