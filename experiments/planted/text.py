"""The outcome of the trial as figures, tables and a text that says it whichever way it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.planted.figures import by_layer, crossed, separation
from mossa.report.figures.style import save

LEVEL = 0.05


def write_trial(tables: Mapping[str, pd.DataFrame], layers: Sequence[int], folder: Path) -> Path:
    """Write `tables` (of `pipeline.trial.Outcome`, by name) as CSV, three figures and `trial.md`; return the text."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    verdicts = tables["verdicts"]
    pictures = {
        "trial-tasks": crossed(tables["crossed"]),
        "trial-separation": separation(verdicts[verdicts["layer"].isna()]),
        "trial-layers": by_layer(verdicts),
    }
    for name, axes in pictures.items():
        figure = axes.get_figure(root=True)
        assert figure is not None
        save(figure, folder / "figures" / name)
    page = folder / "trial.md"
    page.write_text(text(tables, layers), encoding="utf-8", newline="\n")
    return page


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the outcome in sentences, the main question first."""
    verdicts = tables["verdicts"]
    whole = verdicts[verdicts["layer"].isna()].set_index("reading")
    main: Any = whole.loc["debiased"]
    rivals = tables["rivals"].set_index("reading")
    winners = [name for name, row in rivals.iterrows() if row["beats"]]
    best = rivals["rival"].iloc[0]
    rose: Any = tables["experimental"].iloc[0]
    found = [
        f"Is the base closer to a task's control where the task was planted? {_verdict(main)}: in "
        f"{main['right']:.0f} of {main['tasks']:.0f} tasks (sign test, p = {main['p']:.2g}); mean difference "
        f"{_interval(main)}; AUC {_area(main)}.",
        f"The best of what a sceptic would read instead is {best!r} (AUC {_area(whole.loc[best])}). "
        + (f"Readings that beat it: {', '.join(map(str, winners))}." if winners else "No reading beats it."),
        f"Does E come closer to the controls than the base is, where the task was not planted? "
        f"{_verdict(rose)}: in {rose['right']:.0f} of {rose['tasks']:.0f} tasks "
        f"(p = {rose['p']:.2g}); mean difference {_interval(rose)}.",
    ]
    left_out = tables["excluded"]
    if len(left_out):
        tasks = ", ".join(dict.fromkeys(left_out["task"]))
        found.append(f"{len(left_out)} controls do not count, for they did not learn enough: {tasks}.")
    return found


def text(tables: Mapping[str, pd.DataFrame], layers: Sequence[int]) -> str:
    """Return the outcome as Markdown."""
    whole = tables["verdicts"][tables["verdicts"]["layer"].isna()]
    gaps = tables["rivals"].set_index("reading")
    span = f"{layers[0]} to {layers[-1]}"
    lines = ["# The trial of the method", "", *(f"- {sentence}" for sentence in sentences(tables)), ""]
    lines += [f"## Readings and rivals, layers {span}", ""]
    lines += ["| reading | right | p | p (Holm) | planted minus not | AUC | against the best rival |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for _, row in whole.iterrows():
        name = f"{row['reading']}{' (rival)' if row['rival'] else ''}"
        gap = "" if row["rival"] else _interval(gaps.loc[row["reading"]].rename({"gap": "difference"}))
        adjusted = "" if pd.isna(row["p_holm"]) else f"{row['p_holm']:.2g}"
        right = f"{row['right']}/{row['tasks']}"
        lines.append(f"| {name} | {right} | {row['p']:.2g} | {adjusted} | {_interval(row)} | {_area(row)} | {gap} |")
    lines += [
        "",
        "## Debiased CKA of base and control",
        "",
        "| base | planted | tasks | mean |",
        "| --- | --- | --- | --- |",
    ]
    for _, row in tables["levels"].iterrows():
        mean = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        lines.append(f"| {row['base']} | {'yes' if row['planted'] else 'no'} | {row['tasks']} | {mean} |")
    lines += ["", "## E minus base, debiased, against the same control", ""]
    lines += ["| base | planted | closer | p | mean difference |", "| --- | --- | --- | --- | --- |"]
    for _, row in tables["experimental"].iterrows():
        planted = "yes" if row["planted"] else "no"
        lines.append(
            f"| {row['base']} | {planted} | {row['right']}/{row['tasks']} | {row['p']:.2g} | {_interval(row)} |"
        )
    lines += [
        "",
        *(f"![{name}](figures/{name}.png)" for name in ("trial-separation", "trial-tasks", "trial-layers")),
        "",
    ]
    return "\n".join(lines)


def _verdict(row: Any) -> str:
    if not row["tasks"]:
        return "Cannot be said"
    if not row["p"] < LEVEL:
        return "Not shown"
    return "Yes" if row["right"] > row["tasks"] / 2 else "No, the other way round"


def _interval(row: Any) -> str:
    if pd.isna(row["difference"]):
        return "none"
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _area(row: Any) -> str:
    return "none" if pd.isna(row["auc"]) else f"{row['auc']:.2f} [{row['auc_low']:.2f}, {row['auc_high']:.2f}]"
