"""One number per layer and model: the change by tuning, sections, dimensions in use (figure 5), separability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mossa.analysis.answers import gradually
from mossa.analysis.headline import change_title
from mossa.report import titles
from mossa.report.colours import CEILING, GREY, Colours, Style, in_order
from mossa.report.figures.boxes import styles_of
from mossa.report.figures.canvas import (
    across,
    blank,
    blank_because,
    count,
    entitle,
    headline,
    layer_ticks,
    legend_below,
    need,
    once,
    root,
    same_height,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = {"shared": "#F4F4F4", "transition": "#DADADA", "refinement": "#ECECEC"}


@styled
def change(table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None) -> list[Axes]:
    """Draw the paired difference from the base per layer and model, one panel per group of tasks.

    `table` holds the rows of one estimator of the findings' table `common_change`: within a panel all models stand on
    the same tasks.
    """
    need(table, "group", "experimental", "layer", "median", "low", "high", "tasks")
    once(table, "group", "experimental", "layer")
    known = table.dropna(subset=["median"])
    groups = list(known.groupby("group", sort=False))
    if not groups:
        return [blank_because(axes[0] if axes else blank(1.5)[0], "No difference from the base could be measured.")]
    if axes is None:
        columns = across(len(groups))
        axes = blank(0.4 + 2.5 * -(-len(groups) // columns), -(-len(groups) // columns), columns)
    styles = styles_of(table["experimental"], colours)
    for panel, (name, rows) in zip(axes, groups, strict=False):
        for model, part in rows.groupby("experimental", sort=False):
            _line(panel, part.sort_values("layer"), "median", styles[str(model)], short(str(model)))
        panel.axhline(0, color=GREY, linewidth=0.8)
        layer_ticks(panel, sorted(known["layer"].unique()))
        panel.set_ylabel("difference in similarity")
        kind = "that all tuned models saw" if name == "tuned" else str(name)
        entitle(panel, f"{count(int(rows['tasks'].max()), 'task')} {kind}. {change_title(rows)}.", fontsize=8)
    same_height(axes[: len(groups)])
    for panel in axes[len(groups) :]:
        panel.set_axis_off()
    legend_below(axes[0])
    return list(axes)


def _line(axes: Axes, rows: pd.DataFrame, y: str, style: Style, label: str) -> None:
    """Draw one line with its interval `low` to `high`."""
    low, high = rows["low"].astype(float), rows["high"].astype(float)
    axes.fill_between(rows["layer"], low, high, color=style.colour, alpha=0.17, linewidth=0)
    many = len(rows) > 16
    axes.plot(
        rows["layer"],
        rows[y],
        f"{style.dash}{'' if many else style.marker}",
        color=style.colour,
        markersize=3,
        label=label,
    )


@styled
def sections(
    change: pd.DataFrame, found: pd.DataFrame, axes: Axes | None = None, *, colours: Colours | None = None
) -> Axes:
    """Draw one model's paired difference from the base per layer, with its sections shaded where they were found.

    `change` and `found` are the rows of one experimental model, population and estimator in the findings' tables
    `change` and `sections`. Bars at the bottom are the intervals of the boundaries over tasks; a gradual rise is
    named in the title; without three sections the reason stands under the figure.
    """
    need(change, "experimental", "layer", "median", "low", "high")
    need(found, "sections", "shared_end", "transition_end", "gradual_from", "gradual_to", "reason")
    once(change, "experimental", "layer")
    axes = axes or blank(2.8)[0]
    rows = change.dropna(subset=["median"]).sort_values("layer")
    if rows.empty:
        return blank_because(axes, "No difference from the base could be measured.")
    model = str(rows["experimental"].iloc[0])
    style = styles_of(rows["experimental"], colours)[model]
    ends = rows["layer"].iloc[[0, -1]].astype(int).tolist()
    row = found.iloc[0] if len(found) else None
    spans = section_spans(row, *ends)
    for name, first, last in spans:
        axes.axvspan(first - 0.5, last + 0.5, color=SHADES[name], linewidth=0, zorder=0)
        place = ((first + last) / 2, 0.99)
        axes.annotate(
            name, place, (0, 0), ("data", "axes fraction"), "offset points", ha="center", va="top", fontsize=6.5
        )
    axes.axhline(0, color=GREY, linewidth=0.7)
    _line(axes, rows, "median", style, f"{model} minus base: median over tasks, 95 % interval")
    for name in ("shared_end", "transition_end"):
        if row is not None and pd.notna(row[name]):
            low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
            span = ([low + 0.5 - 0.15, high + 0.5 + 0.15], [0.03, 0.03])
            axes.plot(*span, color="black", linewidth=2, transform=axes.get_xaxis_transform())
    layer_ticks(axes, list(range(ends[0], ends[1] + 1)))
    axes.set_ylabel("difference in similarity")
    entitle(axes, f"{short(model)}: {_section_words(spans, row)}")
    legend_below(axes, "" if row is None or pd.isna(row["reason"]) else str(row["reason"]))
    return axes


def _section_words(spans: list[tuple[str, int, int]], row: pd.Series | None) -> str:
    if row is not None and pd.notna(row["gradual_from"]):
        return gradually(row)
    return ", ".join(f"{name} {first}-{last}" for name, first, last in spans) or "no sections can be named"


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

    `table` has one row per (model, layer) with the mean `dimensions_99` and the interval `low`, `high` of the median
    (null where there are too few tasks), as the findings' table `dimensionality`.
    """
    need(table, "model", "layer", "dimensions_99", "low", "high", "tasks")
    once(table, "model", "layer")
    axes = axes or blank(2.6)[0]
    defined = table.dropna(subset=["dimensions_99"]).sort_values("layer")
    if defined.empty:
        return blank_because(axes, "No spectrum was measured.")
    styles = styles_of(table["model"], colours)
    for model in in_order(defined["model"]):
        rows = defined[defined["model"] == model]
        tasks = int(rows["tasks"].max())
        label = f"specialists ({tasks})" if model == CEILING else f"{short(model)} ({count(tasks, 'task')})"
        _line(axes, rows, "dimensions_99", styles[model], label)
    layer_ticks(axes, sorted(defined["layer"].astype(int).unique()))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("dimensions")
    entitle(axes, titles.dimensionality(defined))
    legend_below(axes, "Dimensions for 99 % of the variance: mean over tasks; band: 95 % interval of the median.")
    return axes


@styled
def separability(
    table: pd.DataFrame, axes: Sequence[Axes] | None = None, *, colours: Colours | None = None
) -> list[Axes]:
    """Draw, one panel per label, how far above chance a linear classifier reads it off the representations.

    `table` has one row per (model, layer, label) with `accuracy` and `chance`, as `mossa.analysis.separability`.
    """
    need(table, "model", "layer", "label", "accuracy", "chance")
    once(table, "model", "layer", "label")
    defined = table.dropna(subset=["accuracy"]).sort_values("layer")
    labels: list[Any] = list(dict.fromkeys(defined["label"]))
    if not labels:
        return [blank_because(axes[0] if axes else blank(1.5)[0], "No separability could be measured.")]
    if axes is None:
        columns = across(len(labels), 4, least=1.6)
        axes = blank(0.7 + 1.7 * -(-len(labels) // columns), -(-len(labels) // columns), columns)
    styles = styles_of(table["model"], colours)
    for panel, label in zip(axes, labels, strict=False):
        for model in in_order(defined["model"]):
            rows = defined[(defined["model"] == model) & (defined["label"] == label)]
            above = rows["accuracy"].astype(float) - rows["chance"].astype(float)
            style = styles[model]
            panel.plot(rows["layer"], above, style.dash, color=style.colour, label=short(model))
        panel.axhline(0, color=GREY, linewidth=0.7)
        layer_ticks(panel, sorted(defined["layer"].astype(int).unique()))
        entitle(panel, str(label).replace("_", " "), fontsize=8)
    same_height(axes[: len(labels)])
    for panel in axes[len(labels) :]:
        panel.set_axis_off()
    axes[0].set_ylabel("accuracy above chance")
    headline(axes[0], titles.separability(defined))
    root(axes[0]).legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return list(axes)
