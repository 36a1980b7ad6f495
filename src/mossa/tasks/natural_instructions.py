"""Task files of Super-NaturalInstructions: a definition, positive examples and instances in one JSON object."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeGuard

from mossa.errors import DataError
from mossa.tasks.split import folded
from mossa.tasks.task import Example
from mossa.tasks.turns import checked_text


def is_task_file(content: Any) -> bool:
    """Tell whether a JSON value is a task file of Super-NaturalInstructions."""
    return isinstance(content, dict) and "Instances" in content


def read_instances(content: dict[str, Any], path: Path, demonstrations: int) -> tuple[list[Example], Counter[str]]:
    """Return one example per instance and reference output, and how many are left out by the reason.

    Each prompt begins with the definition and `demonstrations` examples. An instance that is also shown as a
    demonstration is not an example. Raises `DataError` with the place of a part that is missing or has the wrong form.
    """
    definition = content.get("Definition")
    text = "\n".join(definition) if _are_texts(definition) else definition
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{path}: 'Definition' must be a list of texts (here: {definition!r}).")
    shown = _demonstrations(content, path, demonstrations)
    head = text.strip() + "".join(f"\n\nInput: {given}\nOutput: {answer}" for given, answer in shown)
    inputs = {folded(Example(given, "")) for given, _ in shown}
    instances = content["Instances"]
    if not isinstance(instances, list):
        raise DataError(f"{path}: 'Instances' must be a list (here: {type(instances).__name__}).")
    examples: list[Example] = []
    left_out: Counter[str] = Counter()
    for number, instance in enumerate(instances, 1):
        where = f"{path}, instance {number}"
        (given,) = _texts(instance, ("input",), where)
        outputs = instance.get("output")
        outputs = [outputs] if isinstance(outputs, str) else outputs
        if not _are_texts(outputs):
            raise DataError(f"{where}: 'output' must be a list of texts (here: {outputs!r}).")
        filled = [output for output in outputs if output.strip()]
        left_out["empty"] += len(outputs) - len(filled)
        if folded(Example(given, "")) in inputs:
            left_out["that are demonstrations"] += len(filled)
        else:
            examples += [Example(f"{head}\n\nInput: {given}\nOutput:", output) for output in filled]
    if not examples and not left_out.total():
        raise DataError(f"{path} is empty; a task needs examples.")
    return examples, left_out


def stated_cluster(content: Any) -> str | None:
    """Return the task's first category as the name of a cluster, or None if it has none."""
    categories = content.get("Categories") if isinstance(content, dict) else None
    if not _are_texts(categories):
        return None
    return re.sub(r"[^a-z0-9]+", "_", categories[0].lower()).strip("_") or None


def _demonstrations(content: dict[str, Any], path: Path, count: int) -> list[tuple[str, str]]:
    given = content.get("Positive Examples", [])
    if not isinstance(given, list) or len(given) < count:
        there = len(given) if isinstance(given, list) else given
        raise DataError(
            f"{path}: tasks.demonstrations is {count}, but 'Positive Examples' has {there!r}. Lower "
            "tasks.demonstrations."
        )
    names = ("input", "output")
    shown = [_texts(one, names, f"{path}, positive example {k}") for k, one in enumerate(given[:count], 1)]
    return [(pair[0], pair[1]) for pair in shown]


def _texts(record: Any, names: tuple[str, ...], where: str) -> list[str]:
    """Return the texts of these fields, which must all be there."""
    if not isinstance(record, dict):
        raise DataError(f"{where}: an example is an object with {', '.join(names)}, not {type(record).__name__}.")
    for name in names:
        there = f"The fields of this example are {', '.join(map(repr, record)) or 'none'}."
        if name not in record:
            raise DataError(f"{where}: there is no {name!r}. {there}")
        if not isinstance(record[name], str):
            raise DataError(f"{where}: {name!r} must be text (here: {str(record[name])[:80]}). {there}")
    return [checked_text(record[name], f"{where}: {name!r}") for name in names]


def _are_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
