"""A folder of task files: FLAN's lines (`inputs`, `targets`, `task`), LLaMA-Factory's or Super-NaturalInstructions'."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mossa.errors import DataError, choices
from mossa.names import check_name
from mossa.tasks.natural_instructions import is_task_file, read_instances, stated_cluster
from mossa.tasks.records import fields, read_json, read_lines
from mossa.tasks.split import Limits, split_by_input
from mossa.tasks.task import Example, Task

CLUSTERS_FILE = "tasks.json"
NO_TASKS = {CLUSTERS_FILE, "dataset_info.json"}  # the second is LLaMA-Factory's list of its files


@dataclass(frozen=True, slots=True)
class Source:
    """What a folder offers before any file is read whole: its clusters and its files."""

    folder: Path
    files: dict[str, Path]
    clusters: dict[str, str]


def load_folder(
    folder: Path,
    limits: Limits,
    seed: int,
    only: list[str] | None = None,
    clusters: Mapping[str, list[str]] | None = None,
    demonstrations: int = 0,
) -> list[Task]:
    """Return the tasks in `folder`, sorted by name.

    A task's cluster is what `clusters` or the folder's tasks.json says, else the first category that its own file
    states (Super-NaturalInstructions). Raises `DataError` with the file, the line and the value for whatever is wrong.
    """
    source = open_folder(folder, clusters)
    names = sorted(source.files) if only is None else only
    for name in names:
        if name not in source.files:
            raise DataError(f"{folder}: there is no task {name!r}. {choices(name, source.files)}")
    tasks: list[Task] = []
    for name in sorted(set(names)):
        path = source.files[name]
        content = read_json(path) if path.suffix == ".json" else None
        if demonstrations and not is_task_file(content):
            raise DataError(
                f"tasks.demonstrations: {path} has none; only tasks of Super-NaturalInstructions have them."
            )
        cluster = source.clusters.get(name) or stated_cluster(content)
        if cluster is None:
            raise DataError(
                f"{folder}: task {name!r} has no cluster. Name it under tasks.clusters, or in {CLUSTERS_FILE}."
            )
        splits = split_by_input(read_examples(path, name, content, demonstrations), limits, seed, name)
        tasks.append(Task(name, cluster, *splits))
    return tasks


def open_folder(folder: Path, clusters: Mapping[str, list[str]] | None = None) -> Source:
    """Return the task files in `folder` (or its `tasks` folder) and the cluster of each task that has one.

    Raises `DataError` if there are none, or if a name cannot serve as a key or appears twice.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder. tasks.source wants a folder of task files, or the name of a collection."
        )
    paths = _task_files(folder) or _task_files(folder / "tasks")
    files: dict[str, Path] = {}
    lowered: dict[str, Path] = {}
    for path in paths:
        name = check_name(path.stem, "task", str(path))
        if other := lowered.get(name.lower()):
            raise DataError(
                f"{path.parent}: {path.name!r} and {other.name!r} differ only in case or ending; rename one."
            )
        lowered[name.lower()] = path
        files[name] = path
    if not files:
        others = sorted(path.name for path in folder.iterdir())
        there = f"It holds {', '.join(others[:3])}{' and others' if len(others) > 3 else ''}. " if others else ""
        raise DataError(
            f"{folder} has no *.jsonl file and no *.json file. {there}Each task is one file: one JSON object per line, "
            "or an array, or a task of Super-NaturalInstructions."
        )
    stated = not (folder / CLUSTERS_FILE).is_file() and all(path.suffix == ".json" for path in paths)
    mapping = clusters if clusters is not None else {} if stated else _read_clusters(folder, list(files))
    return Source(
        folder,
        files,
        {name: check_name(c, "cluster", str(folder)) for c, ns in mapping.items() for name in ns},
    )


def read_examples(path: Path, name: str, content: Any = None, demonstrations: int = 0) -> list[Example]:
    """Return the examples in `path`, in file order; raises `DataError` naming the line for the first bad one.

    `content` is what a *.json file holds, if it was read already.
    """
    if path.suffix != ".json":
        examples = [_example(record, where, name) for where, record in read_lines(path)]
    else:
        content = read_json(path) if content is None else content
        if is_task_file(content):
            examples = read_instances(content, path, demonstrations)
        elif isinstance(content, list):
            records = enumerate(content, 1)
            examples = [_example(record, f"{path}, example {number}", name) for number, record in records]
        else:
            raise DataError(
                f"{path} is neither an array of examples nor a task of Super-NaturalInstructions (an object with "
                "'Definition' and 'Instances')."
            )
    if not examples:
        raise DataError(f"{path} is empty; a task needs examples.")
    return examples


def read_rendered(path: Path, stated: Collection[str]) -> tuple[list[Example], int]:
    """Return the examples of a file whose lines are not ours to mend, and how many have no text and are left out.

    Each line's `task` must be one of `stated`. Raises `DataError` for a line without the fields, or of another task.
    """
    examples: list[Example] = []
    empty = 0
    for where, record in read_lines(path):
        inputs, targets, task = fields(record, ("inputs", "targets", "task"), where)
        if task not in stated:
            raise DataError(f"{where}: its task is {task!r}, but the file is of {' or '.join(sorted(stated))}.")
        if inputs.strip() and targets.strip():
            examples.append(Example(inputs, targets))
        else:
            empty += 1
    return examples, empty


def read_prompts(path: Path) -> list[Example]:
    """Return the prompts in a file of the FLAN schema in which only `inputs` is needed; their targets are empty.

    Raises `DataError` naming the line for the first bad one, or if there are none.
    """
    prompts: list[Example] = []
    for where, record in read_lines(path):
        (prompt,) = _not_empty(record, ("inputs",), where)
        template = record.get("template")
        prompts.append(Example(prompt, "", None if template is None else str(template)))
    if not prompts:
        raise DataError(f"{path} is empty; give one JSON object with inputs per line.")
    return prompts


def _task_files(folder: Path) -> list[Path]:
    found = [*folder.glob("*.jsonl"), *folder.glob("*.json")]
    return sorted(path for path in found if path.name not in NO_TASKS)


def _example(record: Any, where: str, name: str) -> Example:
    if isinstance(record, dict) and "instruction" in record and "inputs" not in record:
        return _alpaca(record, where)
    prompt, target = _not_empty(record, ("inputs", "targets"), where)
    stated = record.get("task", name)
    if stated != name:
        raise DataError(f"{where}: its task is {stated!r}, but the file is {name!r}. One file holds one task.")
    template = record.get("template")
    return Example(prompt, target, None if template is None else str(template))


def _alpaca(record: dict[str, Any], where: str) -> Example:
    """Return what LLaMA-Factory makes of its alpaca format: the instruction, then the input on a line of its own."""
    for key in ("history", "system"):
        if record.get(key):
            raise DataError(f"{where}: {key!r} is not empty. A task's prompt is one turn; write it into 'instruction'.")
    instruction, target = _not_empty(record, ("instruction", "output"), where)
    (given,) = fields(record, ("input",), where) if record.get("input") is not None else ("",)
    return Example(f"{instruction}\n{given}" if given.strip() else instruction, target)


def _not_empty(record: Any, names: tuple[str, ...], where: str) -> list[str]:
    values = fields(record, names, where)
    for name, value in zip(names, values, strict=True):
        if not value.strip():
            raise DataError(f"{where}: {name!r} must be text that is not empty (here: {value!r}).")
    return values


def _read_clusters(folder: Path, names: list[str]) -> dict[str, list[str]]:
    path = folder / CLUSTERS_FILE
    if not path.is_file():
        raise DataError(
            f"{folder} has no {CLUSTERS_FILE}, which says which tasks belong together. Write for example "
            f'{{"clusters": {{"my-cluster": ["{names[0]}"]}}}} there, or give tasks.clusters in the study.'
        )
    content = read_json(path)
    clusters = content.get("clusters") if isinstance(content, dict) else None
    if not isinstance(clusters, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in clusters.values()
    ):
        raise DataError(f'{path} needs "clusters": an object that maps each cluster to a list of task names.')
    return clusters
