"""Does the picture depend on how long specialists train? `python -m experiments.dose RUN RUN_TO_A_CRITERION`.

The rules stand in docs/explanation/smollm2.md. The two runs differ in the budget of their controls alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import typer

from mossa import Results
from mossa.analysis.change import over_tasks, paired_differences
from mossa.analysis.curves import curve
from mossa.analysis.over_tasks import adjust
from mossa.study.schema import BASE

PLAIN, TESTED = "cka-linear", "cka-linear-debiased"


def changes(first: pd.DataFrame, second: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return, per layer, the change of `model` minus base in two runs' curves, and how far the second's is above.

    Columns: `first` and `second` (medians over tasks, debiased CKA), and of second minus first the `median`, its 95 %
    interval, Wilcoxon's p value over tasks and its q value over layers (Benjamini-Hochberg).
    """
    both = [paired_differences(curves, model, BASE, TESTED) for curves in (first, second)]
    moved = (both[1] - both[0]).dropna(how="all")
    rows = [{"layer": layer, **over_tasks(moved[layer].dropna().to_numpy(float))} for layer in moved]
    table = pd.DataFrame(rows).set_index("layer")
    table["q_value"] = adjust(table["p_value"])
    return table.assign(first=both[0].median(), second=both[1].median())


def main(run: Path, to_a_criterion: Path, model: str = "sft") -> None:
    """Print steps and answers of the controls, medians per layer, and the test of the rules."""
    results = [Results.load(folder) for folder in (run, to_a_criterion)]
    curves = [each.findings(TESTED).curves for each in results]
    for name, each in zip(("equal dose", "to a criterion"), results, strict=True):
        adapters = each.tables["adapters"]
        controls = adapters[adapters["role"].eq("control")]
        answers = each.tables["evaluation"].groupby("role")["accuracy"]
        right = {role: round(float(found.median()), 2) for role, found in answers}
        ended = dict(Counter(controls["stopped_because"]))
        steps = sorted(controls["steps"].astype(int).tolist())
        typer.echo(f"{name}: steps {steps}, {ended}, median exact match {right}")
    table = changes(curves[0], curves[1], model)
    for name, part in zip(("equal", "criterion"), curves, strict=True):
        for shown in (BASE, model):
            table[f"{shown} {name}"] = curve(part, shown, PLAIN).median()
    typer.echo(table.drop(columns=["reason"]).to_string(float_format="{:.3f}".format))
    passed = table.index[table["q_value"] < 0.05].tolist()
    typer.echo(f"Layers whose change depends on the dose (q < .05): {passed or 'none'}")


if __name__ == "__main__":
    typer.run(main)
