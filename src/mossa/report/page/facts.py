"""What the page says about each task in words: its losses, its make-up, a few of its prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

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


class Loss(NamedTuple):
    """One model on the test set of one task, as text."""

    model: str
    loss: str
    accuracy: str


class Facts(NamedTuple):
    """One drawer of the page."""

    task: str
    cluster: str
    losses: list[Loss]
    about: list[tuple[str, str]]
    prompts: list[str]


def facts(
    tasks: list[dict[str, str]], tables: Mapping[str, pd.DataFrame], prompts: Mapping[str, list[str]]
) -> list[Facts]:
    """Return one `Facts` per task, in the order of `tasks`; what a run does not hold is left out."""
    losses = _by_task(tables.get("evaluation"))
    about = _by_task(tables.get("tasks"))
    return [
        Facts(
            task["task"],
            task["cluster"],
            [Loss(str(row["model"]), _number(row["loss"]), _number(row.get("accuracy"))) for row in losses(task)],
            [(label, _number(row.get(name), 1)) for row in about(task) for name, label in PROPERTIES.items()],
            [shorten(prompt) for prompt in prompts.get(task["task"], [])],
        )
        for task in tasks
    ]


def _by_task(table: pd.DataFrame | None) -> Any:
    groups: dict[str, list[dict[str, Any]]] = {}
    if table is not None:
        for row in table.to_dict("records"):
            groups.setdefault(str(row["task"]), []).append({str(name): value for name, value in row.items()})
    return lambda task: groups.get(task["task"], [])


def _number(value: Any, digits: int = 3) -> str:
    if value is None or pd.isna(value):
        return "unknown"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{digits}f}"


def shorten(prompt: str) -> str:
    """Return the prompt, its middle cut where it is longer than `LONGEST_PROMPT`, saying how much was cut."""
    if len(prompt) <= LONGEST_PROMPT:
        return prompt
    half = LONGEST_PROMPT // 2
    return f"{prompt[:half]}\n[… {len(prompt) - 2 * half:,} characters not shown …]\n{prompt[-half:]}"
