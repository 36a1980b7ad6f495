"""A folder of *.jsonl files in the FLAN schema: one object per line with `inputs`, `targets` and `task`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mossa.errors import DataError, choices
from mossa.names import check_name
from mossa.tasks.split import Limits, split_by_input
from mossa.tasks.task import Example, Task

LONGEST_LINE = 4_000_000  # characters; a longer one is no example but a mistake
CLUSTERS_FILE = "tasks.json"


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
) -> list[Task]:
    """Return the tasks in `folder`, sorted by name.

    Raises `DataError` with the file, the line and the value for whatever is wrong.
    """
    source = open_folder(folder, clusters)
    names = sorted(source.files) if only is None else only
    for name in names:
        if name not in source.files:
            raise DataError(f"{folder}: there is no task {name!r}. {choices(name, source.files)}")
        if name not in source.clusters:
            raise DataError(
                f"{folder}: task {name!r} has no cluster. Name it under tasks.clusters, or in {CLUSTERS_FILE}."
            )
    tasks: list[Task] = []
    for name in sorted(set(names)):
        splits = split_by_input(read_examples(source.files[name], name), limits, seed, name)
        tasks.append(Task(name, source.clusters[name], *splits))
    return tasks


def open_folder(folder: Path, clusters: Mapping[str, list[str]] | None = None) -> Source:
    """Return the task files in `folder` (or its `tasks` folder) and the cluster of each task.

    Raises `DataError` if there are none, or if a name cannot serve as a key or appears twice.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder. tasks.source wants a folder of *.jsonl, or the name of a collection."
        )
    place = folder if any(folder.glob("*.jsonl")) else folder / "tasks"
    files: dict[str, Path] = {}
    lowered: dict[str, str] = {}
    for path in sorted(place.glob("*.jsonl")):
        name = check_name(path.stem, "task", str(path))
        if name.lower() in lowered:
            raise DataError(f"{place}: tasks {name!r} and {lowered[name.lower()]!r} differ only in case; rename one.")
        lowered[name.lower()] = name
        files[name] = path
    if not files:
        raise DataError(f"{folder} has no *.jsonl file. Each task is one file, one JSON object per line.")
    mapping = clusters if clusters is not None else _read_clusters(folder)
    return Source(
        folder,
        files,
        {name: check_name(c, "cluster", str(folder)) for c, ns in mapping.items() for name in ns},
    )


def read_examples(path: Path, name: str) -> list[Example]:
    """Return the examples in `path`, in file order; raises `DataError` naming the line for the first bad one."""
    examples = [_example(record, path, number, name) for number, record in _records(path)]
    if not examples:
        raise DataError(f"{path} is empty; a task needs examples, one JSON object per line.")
    return examples


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{path}, line {number}: {len(line):,} characters; at most {LONGEST_LINE:,}.")
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    shown = line.strip()[:60]
                    raise DataError(f"{path}, line {number}: this is not JSON ({error}): {shown!r}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _example(record: Any, path: Path, number: int, name: str) -> Example:
    where = f"{path}, line {number}"
    if not isinstance(record, dict):
        raise DataError(f"{where}: an example is an object with inputs, targets and task, not {type(record).__name__}.")
    for key in ("inputs", "targets"):
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise DataError(f"{where}: {key!r} must be text that is not empty (here: {record.get(key)!r}).")
        try:
            record[key].encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: {key!r} holds half of a character ({error.reason}); mend the line.") from error
    stated = record.get("task", name)
    if stated != name:
        raise DataError(f"{where}: its task is {stated!r}, but the file is {name!r}. One file holds one task.")
    template = record.get("template")
    return Example(record["inputs"], record["targets"], None if template is None else str(template))


def _read_clusters(folder: Path) -> dict[str, list[str]]:
    path = folder / CLUSTERS_FILE
    if not path.is_file():
        raise DataError(
            f"{folder} has no {CLUSTERS_FILE}; name the clusters there or under tasks.clusters in the study."
        )
    try:
        clusters = json.loads(path.read_text(encoding="utf-8")).get("clusters")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a JSON object: {error}.") from error
    if not isinstance(clusters, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in clusters.values()
    ):
        raise DataError(f'{path} needs "clusters": an object that maps each cluster to a list of task names.')
    return clusters
