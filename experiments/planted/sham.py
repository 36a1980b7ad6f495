"""Is a sham control (same prompts, shuffled answers, as many steps) a null? Tried on TinyFLAN, where it is known.

A null for "the base holds the task" has to say nothing where the base was not taught the task: there the base should be
as close to the control as to its sham. And the distance above it should tell taught tasks from others at least as well
as the plain similarity does. Run: `python -m experiments.planted.sham`. See docs/reference/analysis.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

import mossa
from mossa.analysis.over_tasks import interval, wilcoxon
from mossa.tinyflan.bases import taught_tasks

ESTIMATOR = "cka-linear-within-debiased"


def study(base: str, tasks: list[str], seeds: int, runs: Path) -> mossa.Study:
    """Return the study of one base: controls and shams of `tasks`, short enough for a laptop."""
    return mossa.Study.load(
        "tinyflan",
        f"name=sham-{base}",
        f"base.model=tinyflan:{base}",
        f"tasks.only=[{', '.join(tasks)}]",
        "tasks.train=400",
        "tasks.test=100",
        "control.sham=true",
        f"control.seeds={list(range(seeds))}",
        "recipe.budget={until: {metric: exact_match, value: 0.9, at_most_steps: 400}}",
        "experimental={pretrained: base}",
        runs=runs,
    )


def readings(results: mossa.Results, base: str) -> pd.DataFrame:
    """Return per task the base's similarity to control and sham (mean over layers), and whether it was planted."""
    rows = results.similarity[(results.similarity["estimator"] == ESTIMATOR)]
    means = rows.groupby(["task", "relation"])["value"].mean().unstack("relation")
    learned = results.findings().controls.groupby("task")["learned"].all()
    steps = results.tables["adapters"].query("role == 'control'").groupby("task")["steps"].mean()
    table = means.assign(above=means["control"] - means["sham"], learned=learned, steps=steps, base=base)
    if "ceiling" in means:  # two seeds: the share as it was read once, and as it is read now
        table["over agreement"] = means["control"] / means["ceiling"]
        table["share"] = means["control"] / means["ceiling"] ** 0.5
    return table.assign(planted=table.index.isin(taught_tasks(base))).reset_index()


def report(table: pd.DataFrame) -> list[str]:
    """Return sentences: what lies above the sham where nothing was planted, and what tells planted from not."""
    lines: list[str] = []
    for name, part in table.groupby("planted"):
        values = part["above"].to_numpy(float)
        low, high = interval(values)
        medians = part[["control", "sham", "above"]].median()
        lines.append(
            f"{'planted' if name else 'not planted'}: {len(part)} tasks, to the control {medians['control']:.3f}, to "
            f"the sham {medians['sham']:.3f}, above {medians['above']:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"p = {wilcoxon(values)[0]:.2g}"
        )
    for reading in [name for name in ("control", "above", "sham", "over agreement", "share") if name in table]:
        known = table.dropna(subset=[reading])
        lines.append(f"AUC of {reading}: {roc_auc_score(known['planted'], known[reading]):.2f}, {len(known)} rows")
    return lines


def main() -> None:
    """Run the study on the two bases with complementary halves, and print the outcome."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=12, help="how many tasks, half of them planted in each base")
    arguments.add_argument("--seeds", type=int, default=1, help="controls per task; with 2 the share is read as well")
    arguments.add_argument("--runs", type=Path, default=Path("runs"))
    given = arguments.parse_args()
    half = given.tasks // 2
    tasks = [*taught_tasks("a")[::5][:half], *taught_tasks("b")[::5][:half]]
    tables: list[pd.DataFrame] = []
    for base in ("a", "b"):
        one = study(base, tasks, given.seeds, given.runs)
        one.run(workers=1, report=False, progress=False)
        tables.append(readings(one.results(), base))
    table = pd.concat(tables, ignore_index=True)
    print(table.round(3).to_string())
    print("\n".join(report(table)))


if __name__ == "__main__":
    main()
