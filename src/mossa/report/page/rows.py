"""The table of all tasks: one row each, which opens to show curves, losses, prompts and answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.wording import number, signed
from mossa.report.colours import CEILING, Style, in_order, model_styles
from mossa.report.page.chart import Chart, ChartView, lines, over_layers
from mossa.report.select import reading

LONGEST_PROMPT = 1500
"""Characters shown of a prompt; the page says how many were cut."""

PROPERTIES = {
    "train": "training examples",
    "validation": "validation examples",
    "test": "test examples",
    "left_out": "examples of the source left out",
    "templates": "templates",
    "skipped": "test prompts skipped",
    "shortened": "test prompts shortened",
    "prompt_tokens": "tokens per prompt",
    "target_tokens": "tokens per target",
    "flesch_kincaid": "Flesch-Kincaid grade",
    "coleman_liau": "Coleman-Liau index",
}


class Cell(NamedTuple):
    """A number as text, and the value to sort by."""

    text: str
    sort: float | None


class ShownExample(NamedTuple):
    """A test prompt, its target, and what models answered: (model, answer, right, whole)."""

    prompt: str
    target: str
    answers: list[tuple[str, str, bool, bool]]


class TaskRow(NamedTuple):
    """One task; `anchor` is its permalink, `marks` what is special about it."""

    task: str
    cluster: str
    anchor: str
    marks: list[str]
    cells: list[Cell]
    losses: list[tuple[str, str, str]]
    about: list[tuple[str, str]]
    examples: list[ShownExample]
    chart: Chart


class TaskTable(NamedTuple):
    """Groups of columns as (title, columns in it), the columns, and the rows."""

    groups: list[tuple[str, int]]
    columns: list[str]
    rows: list[TaskRow]


def task_table(
    findings: Findings,
    estimator: str,
    tables: Mapping[str, pd.DataFrame],
    prompts: Mapping[str, Sequence[str | Sequence[str]]],
    taught: frozenset[str],
) -> TaskTable:
    """Return the table of all tasks; what a run does not hold is left out."""
    rows = reading(findings.curves, estimator)
    columns = {**_exact_match(findings), **_similarity(findings, rows)}
    columns = {key: values for key, values in columns.items() if values.notna().any()}
    losses, about, said = (_by_task(tables.get(name)) for name in ("evaluation", "tasks", "replies"))
    styles = model_styles(findings.curves["experimental"])
    held = rows[rows["held_out"].astype(bool)].groupby("task")["experimental"].unique()
    found: list[TaskRow] = []
    for (task, cluster), part in rows.groupby(["task", "cluster"]):
        marks = ["taught"] if task in taught else []
        marks += [f"held out of {model}" for model in held.get(task, [])]
        name = str(task)
        cells = [
            cell(values.get(task), signed if group.startswith("change") else number)
            for (group, _), values in columns.items()
        ]
        examples = [
            _shown(each, [row for row in said.get(name, []) if row["prompt"] == place])
            for place, each in enumerate(prompts.get(name, []), 1)
        ]
        told = _losses(losses.get(name, [])), _about(about.get(name, []))
        curves = _curves(len(found), part, styles)
        found.append(TaskRow(name, str(cluster), anchor(name), marks, cells, *told, examples, curves))
    return TaskTable(list(Counter(group for group, _ in columns).items()), [name for _, name in columns], found)


def anchor(task: str) -> str:
    """Return the name by which the page's address points at a task."""
    return f"task-{re.sub(r'[^A-Za-z0-9_.-]', '_', task)}"


def _exact_match(findings: Findings) -> dict[tuple[str, str], pd.Series[Any]]:
    table, found = findings.performance, {}
    if table.empty:
        return {}
    by_task = table.drop_duplicates("task").set_index("task")
    found["exact match", findings.baseline] = by_task["base_accuracy"]
    for model, part in table.groupby("experimental", sort=False):
        found["exact match", str(model)] = part.set_index("task")["tuned_accuracy"]
    found["exact match", "specialist"] = by_task["control_accuracy"]
    return found


def _similarity(findings: Findings, rows: pd.DataFrame) -> dict[tuple[str, str], Any]:
    means = rows.groupby(["experimental", "task"])["value"].mean().unstack("task")
    models = [model for model in in_order(means.index) if model != CEILING]
    found = {("similarity, mean over layers", model): means.loc[model] for model in models}
    for model in models:
        if findings.baseline in means.index and model != findings.baseline:
            found["change from the base", model] = means.loc[model] - means.loc[findings.baseline]
    return found


def cell(value: Any, words: Callable[[float], str] = number) -> Cell:
    """Return a number as `words` writes it, or that it is unknown."""
    return Cell("unknown", None) if pd.isna(value) else Cell(words(value), float(value))


def _curves(place: int, rows: pd.DataFrame, styles: dict[str, Style]) -> Chart:
    held_out = rows.loc[rows["held_out"].astype(bool), "experimental"]
    called = {**{model: f"{model}, held out" for model in held_out}, CEILING: "two specialists"}
    data = lines(rows, "experimental", "value", styles, unit="%{y:.3f}", called=called)
    view = ChartView("", [over_layers("", rows, data, "similarity", 280)])
    return Chart(f"row-{place}", f"Similarity to the specialist of {rows['task'].iloc[0]}", "", [view])


def _by_task(table: pd.DataFrame | None) -> dict[str, list[dict[Hashable, Any]]]:
    groups = [] if table is None else table.groupby("task")
    return {str(task): part.to_dict("records") for task, part in groups}


def _number(value: Any, digits: int = 3) -> str:
    if pd.isna(value):
        return "unknown"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{digits}f}"


def _losses(rows: list[dict[Hashable, Any]]) -> list[tuple[str, str, str]]:
    return [(str(row["model"]), _number(row["loss"]), _number(row.get("accuracy"))) for row in rows]


def _about(rows: list[dict[Hashable, Any]]) -> list[tuple[str, str]]:
    return [(words, _number(row.get(name), 1)) for row in rows for name, words in PROPERTIES.items()]


def _shown(given: str | Sequence[str], answers: list[dict[Hashable, Any]]) -> ShownExample:
    """Return an example with the answers of base, tuned models and first specialist; old runs have no target."""
    prompt, target = (given, "") if isinstance(given, str) else (given[0], given[1])
    told = {  # reversed, so that of several specialists the first one is kept
        "specialist" if row["role"] == "control" else str(row["model"]): row
        for row in reversed(answers)
        if row["role"] != "sham"
    }
    said = [
        (model, shorten(str(row["reply"])), bool(row["right"]), bool(row["ended"]))
        for model, row in reversed(told.items())
    ]
    return ShownExample(shorten(prompt), shorten(target), said)


def shorten(text: str) -> str:
    """Return the text, its middle cut where it is longer than `LONGEST_PROMPT`, saying how much was cut."""
    if len(text) <= LONGEST_PROMPT:
        return text
    half = LONGEST_PROMPT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters not shown …]\n{text[-half:]}"
