"""Two runs side by side: what tuning changed in one and in the other, on the tasks that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.change import paired_differences
from mossa.analysis.curves import describe
from mossa.analysis.wording import brackets, count, extreme, number, short, signed
from mossa.errors import DataError
from mossa.report.colours import model_styles
from mossa.report.page.chart import DIFFERENCE, NULL, Chart, ChartView, Panel, line, over_layers

LONGEST = 60
"""Characters shown of a setting."""


class Against(NamedTuple):
    """Another run: its name, what was found in it, and its settings."""

    name: str
    findings: Findings
    study: Mapping[str, Any] = {}


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (setting, here, there) of every setting in which two studies differ, except their names."""
    one, other = (dict(_flat(study)) for study in (ours, theirs))
    keys = [key for key in dict.fromkeys([*one, *other]) if key != "name" and one.get(key) != other.get(key)]
    return [(key, _shown(one.get(key)), _shown(other.get(key))) for key in keys]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _shown(value: Any) -> str:
    text = "not set" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return short(text, LONGEST)


def compared(ours: Findings, theirs: Findings) -> pd.DataFrame:
    """Return, per tuned model of the same name and layer, the change in both runs and their paired difference.

    Rows: `model`, `run` (`this`, `other`, `difference`), `layer` and the columns of `distribution`. Of models with
    different numbers of layers, each layer of the shallower one is paired with the other's at the same share of its
    depth. Raises `DataError` if the runs share no tuned model, task or measure.
    """
    estimator = ours.estimator or ""
    tables: list[pd.DataFrame] = []
    for model in ours.change["experimental"].unique():
        if theirs.change.loc[theirs.change["estimator"].eq(estimator), "experimental"].eq(model).any():
            one, other = (paired_differences(run.curves, model, run.baseline, estimator) for run in (ours, theirs))
            tasks, depth = one.index.intersection(other.index), int(min(one.columns.max(), other.columns.max()))
            one, other = (_at_depth(values.loc[tasks], depth) for values in (one, other))
            for name, values in (("this", one), ("other", other), ("difference", one - other)):
                rows = [{"layer": layer, **describe(values[layer])} for layer in values]
                tables.append(pd.DataFrame(rows).assign(model=model, run=name))
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["tasks"])
    if found.empty or not found["tasks"].max():
        raise DataError(
            f"The two runs share no tuned model with a task measured by {estimator}, so there is nothing to compare. "
            "Give a run with a tuned model of the same name, on the same tasks."
        )
    return found


def _at_depth(values: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Return the layers (columns) of a model that lie at the same share of its depth as layers 1..depth of another."""
    layers = int(values.columns.max())
    chosen = {layer: round(layer * layers / depth) for layer in range(1, depth + 1)}
    return pd.DataFrame({layer: values[there] for layer, there in chosen.items() if there in values})


def against_chart(findings: Findings, against: Against) -> Chart:
    """Draw the change by tuning in both runs, one panel per tuned model they share."""
    table = compared(findings, against.findings)
    styles = model_styles(findings.curves["experimental"])
    panels: list[Panel] = []
    told: list[str] = []
    for model, rows in table.groupby("model", sort=False):
        parts = {name: part.dropna(subset=["median"]) for name, part in rows.groupby("run")}
        data = [*line(parts["this"], "median", f"{model}, this run", styles[str(model)], ("tasks",)),
                *line(parts["other"], "median", against.name, NULL, ("tasks",))]  # fmt: skip
        title = f"{model}, {count(int(rows['tasks'].max()), 'task')} in both runs"
        panels.append(over_layers(title, rows, data, "difference from the base", 300, **DIFFERENCE))
        told.append(f"{model} {_largest(parts['difference'])}")
    how = (
        "Similarity to the specialists, tuned model minus base, in both runs: medians over the tasks that both have, "
        "with 95 % intervals. The title gives the largest median of the paired differences, this run minus the other."
    )
    here, there = (int(run.curves["layer"].max()) for run in (findings, against.findings))
    if here != there:
        how += (
            f" This run has {here} layers and {against.name} {there}: each layer of the shallower model is shown with "
            "the layer of the other at the same share of its depth."
        )
    return Chart("against", f"This run minus {against.name}, where they differ most: {'; '.join(told)}", how,
                 [ChartView("", panels)])  # fmt: skip


def _largest(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "unknown"
    most = extreme(rows, "median")
    unsure = ", not distinguishable from none" if most["low"] <= 0 <= most["high"] else ""
    return f"{signed(most['median'])}{brackets(most['low'], most['high'])} at layer {most['layer']}{unsure}"


def exact_match(findings: Findings, against: Against) -> list[str]:
    """Say for every tuned model of both runs its mean exact match in each, on the tasks that both scored."""
    told: list[str] = []
    one, other = (run.performance.dropna(subset=["tuned_accuracy"]) for run in (findings, against.findings))
    both = one.merge(other, on=["experimental", "task"], suffixes=("", "_other"))
    for model, rows in both.groupby("experimental", sort=False):
        ours, theirs = (number(rows[f"tuned_accuracy{ending}"].mean()) for ending in ("", "_other"))
        told.append(f"{model}: mean exact match {ours} here and {theirs} there, on {count(len(rows), 'task')}.")
    return told
