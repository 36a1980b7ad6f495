"""One number per layer and model: where the sections lie, and how many dimensions are in use (figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mossa.report.colours import CEILING, GREY, Colours, in_order, model_colours
from mossa.report.figures.canvas import (
    blank,
    blank_because,
    count,
    layer_ticks,
    legend_below,
    need,
    once,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = {"shared": "#F4F4F4", "transition": "#DADADA", "refinement": "#ECECEC"}


@styled
def sections(
    change: pd.DataFrame, found: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None
) -> Axes:
    """Draw one model's paired difference from the base per layer, with its sections shaded where they were found.

    `change` and `found` are the rows of one experimental model, population and estimator in the findings' tables
    `change` and `sections`. Bars at the bottom are the intervals of the boundaries; without sections the
    reason stands in the title.
    """
    need(change, "experimental", "layer", "median", "low", "high")
    need(found, "sections", "shared_end", "transition_end", "reason")
    once(change, "experimental", "layer")
    axes = axes or blank(2.6)[0]
    rows = change.dropna(subset=["median"]).sort_values("layer")
    if rows.empty:
        return blank_because(axes, "No difference from the base could be measured.")
    model = str(rows["experimental"].iloc[0])
    colour = (colours or model_colours([model]))[model]
    ends = rows["layer"].iloc[[0, -1]].astype(int).tolist()
    row = found.iloc[0] if len(found) else None
    for name, first, last in section_spans(row, *ends):
        axes.axvspan(first - 0.5, last + 0.5, color=SHADES[name], linewidth=0, zorder=0)
        place = ((first + last) / 2, 1.0)
        axes.annotate(name, place, (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=7)
    axes.axhline(0, color=GREY, linewidth=0.7)
    axes.fill_between(rows["layer"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
    axes.plot(rows["layer"], rows["median"], "o-", color=colour, markersize=2.5, label=f"{model} minus base")
    for name in ("shared_end", "transition_end"):
        if row is not None and pd.notna(row[name]):
            low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
            span = ([low + 0.5 - 0.15, high + 0.5 + 0.15], [0.03, 0.03])
            axes.plot(*span, color="black", linewidth=2, transform=axes.get_xaxis_transform())
    layer_ticks(axes, list(range(ends[0], ends[1] + 1)))
    axes.set_ylabel("difference in similarity")
    why = "" if row is None or pd.isna(row["reason"]) else f"\n{row['reason']}"
    axes.set_title(
        f"Similarity to the controls, {short(model)} minus base: median over tasks and 95 % interval{why}", pad=14
    )
    axes.title.set_fontsize(8)
    return axes


def section_spans(row: pd.Series | None, first: int, last: int) -> list[tuple[str, int, int]]:
    """Return (name, first layer, last layer) of each section found in a row of the table `sections`."""
    if row is None or pd.isna(row["shared_end"]):
        return []
    shared_end = int(row["shared_end"])
    spans = [("shared", first, shared_end)]
    if pd.notna(row["transition_end"]):
        spans.append(("transition", shared_end + 1, int(row["transition_end"])))
    return [*spans, ("refinement", spans[-1][2] + 1, last)]


@styled
def dimensionality(table: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None) -> Axes:
    """Draw figure 5: per layer and model the mean over tasks of the dimensions that explain 99 % of the variance.

    `table` has one row per (model, layer) with `dimensions_99` and its interval `low`, `high` (null where there are
    too few tasks), as the findings' table `dimensionality`.
    """
    need(table, "model", "layer", "dimensions_99", "low", "high", "tasks")
    once(table, "model", "layer")
    axes = axes or blank(2.6)[0]
    defined = table.dropna(subset=["dimensions_99"]).sort_values("layer")
    if defined.empty:
        return blank_because(axes, "No spectrum was measured.")
    colours = {**model_colours(table["model"]), **(colours or {})}
    for model in in_order(defined["model"]):
        rows = defined[defined["model"] == model]
        tasks = int(rows["tasks"].max())
        label = f"controls ({tasks})" if model == CEILING else f"{short(model)} ({count(tasks, 'task')})"
        axes.plot(rows["layer"], rows["dimensions_99"], "o-", color=colours[model], markersize=2.5, label=label)
        axes.fill_between(
            rows["layer"], rows["low"].astype(float), rows["high"].astype(float), color=colours[model], alpha=0.15, lw=0
        )
    layer_ticks(axes, sorted(defined["layer"].astype(int).unique()))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("dimensions")
    axes.set_title(
        "Principal dimensions that explain 99 % of the variance: mean over tasks, and 95 % interval of the median"
    )
    legend_below(axes)
    return axes


DASHES = {"cluster": "-", "task": "--", "template": ":"}


@styled
def separability(table: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None) -> Axes:
    """Draw how far above chance a linear classifier reads cluster, task and template off the representations.

    `table` has one row per (model, layer, label) with `accuracy` and `chance`, as `mossa.analysis.separability`.
    """
    need(table, "model", "layer", "label", "accuracy", "chance")
    once(table, "model", "layer", "label")
    axes = axes or blank(2.6)[0]
    defined = table.dropna(subset=["accuracy"]).sort_values("layer")
    if defined.empty:
        return blank_because(axes, "No separability could be measured.")
    colours = {**model_colours(table["model"]), **(colours or {})}
    for model in in_order(defined["model"]):
        for label, rows in defined[defined["model"] == model].groupby("label"):
            above = rows["accuracy"].astype(float) - rows["chance"].astype(float)
            style = DASHES.get(str(label), "-.")
            axes.plot(rows["layer"], above, style, color=colours[model], label=f"{short(model)}: {label}")
    axes.axhline(0, color=GREY, linewidth=0.7)
    layer_ticks(axes, sorted(defined["layer"].astype(int).unique()))
    axes.set_ylabel("accuracy above chance")
    axes.set_title("What a linear classifier reads off the representations, cross-validated")
    legend_below(axes)
    return axes
