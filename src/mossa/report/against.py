"""Two runs side by side: what tuning changed in one and in the other, on the tasks that both have."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.change import paired_differences
from mossa.analysis.distribution import describe
from mossa.analysis.wording import brackets, count, extreme, signed
from mossa.errors import DataError
from mossa.report.colours import HUES, Style
from mossa.report.page.chart import Chart, Panel, View, layer_axis, line

OURS, THEIRS = Style(HUES[1], "s", "-"), Style(HUES[2], "^", "--")


class Against(NamedTuple):
    """Another run: its name and what was found in it."""

    name: str
    findings: Findings


def compared(ours: Findings, theirs: Findings) -> pd.DataFrame:
    """Return, per tuned model of the same name and layer, the change in both runs and their paired difference.

    Rows: `model`, `run` (`this`, `other`, `difference`), `layer` and the columns of `distribution`. Raises `DataError`
    if the runs share no tuned model, task or measure.
    """
    estimator = ours.estimator or ""
    tables: list[pd.DataFrame] = []
    for model in ours.change["experimental"].unique():
        if theirs.change.loc[theirs.change["estimator"].eq(estimator), "experimental"].eq(model).any():
            one, other = (paired_differences(run.curves, model, run.baseline, estimator) for run in (ours, theirs))
            tasks, layers = one.index.intersection(other.index), one.columns.intersection(other.columns)
            one, other = one.loc[tasks, layers], other.loc[tasks, layers]
            for name, values in (("this", one), ("other", other), ("difference", one - other)):
                tables.append(_medians(values).assign(model=model, run=name))
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["tasks"])
    if found.empty or not found["tasks"].max():
        raise DataError(
            f"The two runs share no tuned model with a task measured by {estimator}, so there is nothing to compare. "
            "Give a run with a tuned model of the same name, on the same tasks."
        )
    return found


def _medians(values: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame([{"layer": layer, **describe(values[layer])} for layer in values])


def against_chart(findings: Findings, against: Against) -> Chart:
    """Draw the change by tuning in both runs, one panel per tuned model they share."""
    table = compared(findings, against.findings)
    panels: list[Panel] = []
    told: list[str] = []
    for model, rows in table.groupby("model", sort=False):
        parts = {name: part.dropna(subset=["median"]) for name, part in rows.groupby("run")}
        tasks = count(int(rows["tasks"].max()), "task")
        y = {"title": {"text": "difference from the base"}, "zeroline": True, "zerolinewidth": 2, "tickformat": "+.2~f"}
        data = [*line(parts["this"], "median", "this run", OURS, ("tasks",)),
                *line(parts["other"], "median", against.name, THEIRS, ("tasks",))]  # fmt: skip
        layers = sorted(rows["layer"].unique())
        panels.append(
            Panel(f"{model}, {tasks} in both runs", data, {"height": 300, "xaxis": layer_axis(layers), "yaxis": y})
        )
        told.append(f"{model} {_largest(parts['difference'])}")
    how = (
        "Similarity to the specialists, tuned model minus base, in both runs: medians over the tasks that both have, "
        "with 95 % intervals. The title gives the largest median of the paired differences, this run minus the other."
    )
    return Chart("against", f"This run minus {against.name}, largest: {'; '.join(told)}", how, [View("", panels)])


def _largest(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "unknown"
    most = extreme(rows, "median")
    return f"{signed(most['median'])}{brackets(most['low'], most['high'])} at layer {most['layer']}"
