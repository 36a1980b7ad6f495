"""Tasks from files: one file is one task, or many if a column names the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from mossa.errors import DataError, choices
from mossa.names import check_name
from mossa.study.schema import Fields
from mossa.tasks.beside import few, is_system, not_read, parts_of_one
from mossa.tasks.dataset_info import FILE, read_dataset_info
from mossa.tasks.formats import FORMATS, Found, example, read_table, recognise
from mossa.tasks.natural_instructions import is_task_file, read_instances, stated_cluster
from mossa.tasks.rows import PACKED, READERS, kind_of, name_of, read_json, read_lines, read_object, read_rows
from mossa.tasks.split import Limits, each_once, split_by_input
from mossa.tasks.task import Example, Task, Unusable
from mossa.tasks.turns import USUAL, Tags

CLUSTERS_FILE = "tasks.json"
ONE_CLUSTER = "all"


@dataclass(frozen=True, slots=True)
class Part:
    """Files with one task (or many, if a column names the task), and how their rows are read."""

    name: str
    files: tuple[Path, ...]
    fields: Fields | None = None
    tags: Tags = USUAL


@dataclass(frozen=True, slots=True)
class TaskSource:
    """What a folder holds, before any file is read in full: its parts, and the cluster of each task that has one.

    `clusters` is None where nothing says which tasks belong together.
    """

    place: Path | str
    parts: dict[str, Part]
    clusters: dict[str, str] | None
    notes: list[str] = field(default_factory=list[str])


def load_parts(
    source: TaskSource,
    limits: Limits | None,
    seed: int,
    only: list[str] | None = None,
    demonstrations: int = 0,
    fields: Fields | None = None,
) -> list[Task]:
    """Return the tasks in the parts of a source, sorted by name.

    A task's cluster is the one that the source states, else the one in its column or its own file; if none is stated
    for any task, all tasks are in one cluster. Without `limits` nothing is split: `test` holds every prompt once, in
    the order of the files. Raises `DataError` with the file, the line and the value if something is wrong.
    """
    many = fields is not None and fields.task is not None
    if not many:
        _check_only(source.place, only, source.parts)
    wanted = [part for name, part in source.parts.items() if many or only is None or name in only]
    found = Found()
    for part in wanted:
        _read(part, fields or part.fields, demonstrations, found)
    names = found.examples.keys() | found.left_out.keys()
    if many:
        _check_only(source.place, only, names)
    notes = [*source.notes, *found.notes]
    if source.clusters is None and not found.clusters and len(names) > 1:
        notes.append(f"all tasks are in one cluster; {CLUSTERS_FILE} or tasks.clusters may say which belong together")
    if gone := sorted((source.clusters or {}).keys() - (names if many else source.parts.keys())):
        notes.append(f"in a cluster, but without data: {few(gone)}")
    tasks: list[Task] = []
    for name in sorted(names if only is None else set(only)):
        cluster = _cluster(check_name(name, "task", str(source.place)), source, found)
        usable, left_out = _usable(found, name, source.place), found.left_out[name]
        if limits:
            splits = split_by_input(usable, limits, seed, name)
        else:
            splits = ((), (), each_once(usable))
            left_out["that repeat a prompt"] += len(usable) - len(splits[2])
        tasks.append(Task(name, cluster, *splits, left_out=left_out, notes=tuple(notes)))
    return tasks


def open_source(place: Path, clusters: Mapping[str, list[str]] | None = None) -> TaskSource:
    """Return the files of data in a folder (or in its `tasks` folder), or one file, and the clusters that are stated.

    Raises `DataError` if there are none, or if a name cannot serve as a key or appears twice.
    """
    if place.is_file():
        if kind_of(place) is None:
            next(read_rows(place))  # says which endings there are
        return TaskSource(place, {name_of(place): Part(name_of(place), (place,))}, by_task(clusters, place))
    if not place.is_dir():
        raise DataError(
            f"{place} is neither a folder nor a file. tasks.source takes a folder of task files, a file, "
            "hub:owner/name, or the name of a collection."
        )
    if (place / "dataset_dict.json").is_file() or ((place / "state.json").is_file() and [*place.glob("*.arrow")]):
        part = "['train']" if (place / "dataset_dict.json").is_file() else ""
        raise DataError(
            f"{place} was written by save_to_disk of `datasets`, whose files are not read. Write a parquet file: "
            f"datasets.load_from_disk({str(place)!r}){part}.to_parquet('name-of-the-task.parquet')"
        )
    folder = place if _data_files(place) or not (place / "tasks").is_dir() else place / "tasks"
    listed = read_dataset_info(folder)
    parts = [Part(name, _inside(folder / entry.place), entry.fields, entry.tags) for name, entry in listed.items()]
    taken = set(chain.from_iterable(part.files for part in parts))
    parts += [Part(name_of(path), (path,)) for path in _data_files(folder) if path not in taken]
    if not parts:
        others = sorted(path.name for path in place.iterdir())
        there = f"It holds {few(others)}. " if others else ""
        raise DataError(
            f"{place} has no file of data ({', '.join(f'*{ending}' for ending in READERS)}, packed as "
            f"{', '.join(PACKED)} or not). {there}Each task is one file."
        )
    read = {place for part in parts for path in part.files for place in (path, *path.parents)}
    read |= {folder / CLUSTERS_FILE, folder / FILE}
    notes = [*not_read(folder, read), *parts_of_one([part.name for part in parts])]
    if clusters is None and (place / CLUSTERS_FILE).is_file():
        clusters = _read_clusters(place / CLUSTERS_FILE)
    return TaskSource(place, _by_name(folder, parts), by_task(clusters, place), notes)


def read_prompts(path: Path) -> list[Example]:
    """Return the prompts in a file of any format; it needs no targets.

    Raises `DataError` naming the line for the first bad one, or if there are none.
    """
    prompts: list[Example] = []
    for where, row in read_rows(path) if kind_of(path) else read_lines(path):
        columns = row if isinstance(row, Mapping) else {}
        # a whole format comes first, so that a study and a comparison read one file alike
        alone = (known for known in FORMATS.values() if (known.messages or known.prompt) in columns)
        fields = next(chain(recognise(columns).values(), alone), None)
        if fields is None:
            raise DataError(f"{where}: there is no prompt; call its column 'inputs', or 'messages' of a conversation.")
        try:
            prompts.append(example(columns, fields, where, answered=False))
        except Unusable as reason:
            raise DataError(f"{where}: a prompt {reason} cannot be compared; take it out.") from reason
    if not prompts:
        raise DataError(f"{path} is empty; give one JSON object with inputs per line.")
    return prompts


def _read(part: Part, fields: Fields | None, demonstrations: int, found: Found) -> None:
    """Add what the files of a part hold to `found`."""
    content: Any = read_object(part.files[0]) if kind_of(part.files[0]) == ".json" else None
    if is_task_file(content):
        if part.files[1:]:
            raise DataError(
                f"{part.files[0].parent}: a task of Super-NaturalInstructions is one file; list each of the "
                f"{len(part.files)} as a set of its own in {FILE}."
            )
        examples, left_out = read_instances(content, part.files[0], demonstrations)
        found.examples[part.name] += examples
        found.left_out[part.name] += left_out
        if cluster := stated_cluster(content):
            found.clusters[part.name] = cluster
        return
    if demonstrations:
        raise DataError(
            f"tasks.demonstrations: {part.files[0]} has none; only tasks of Super-NaturalInstructions have them."
        )
    rows = chain.from_iterable(map(read_rows, part.files))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{part.files[0]} is empty; a task needs examples.")
    read_table(chain([first], rows), part.name, found, fields, part.tags)


def _usable(found: Found, task: str, place: Path | str) -> list[Example]:
    """Return the examples of a task; raises `DataError` if every one was left out."""
    if not found.examples[task]:
        why = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out[task].items() if count)
        raise DataError(f"{place}: task {task!r} has no example that can be used ({why}).")
    return found.examples[task]


def _cluster(task: str, source: TaskSource, found: Found) -> str:
    """Return the cluster stated for a task, or one cluster for all tasks if none is stated."""
    cluster = (source.clusters or {}).get(task) or found.clusters.get(task)
    if cluster is None and (source.clusters is not None or found.clusters):
        raise DataError(
            f"{source.place}: task {task!r} has no cluster. Name it under tasks.clusters, or in {CLUSTERS_FILE}."
        )
    return check_name(cluster or ONE_CLUSTER, "cluster", str(source.place))


def _check_only(place: Path | str, only: list[str] | None, names: Iterable[str]) -> None:
    for name in only or ():
        if name not in names:
            raise DataError(f"tasks.only: {place} has no task {name!r}. {choices(name, names)}")


def _by_name(folder: Path, parts: list[Part]) -> dict[str, Part]:
    """Return the parts by name; raises `DataError` for two whose names differ only in case."""
    named: dict[str, Part] = {}
    for part in parts:
        check_name(part.name, "task", str(part.files[0]))
        if other := named.get(part.name.lower()):
            raise DataError(
                f"{folder}: {part.files[0].name!r} and {other.files[0].name!r} differ only in case or ending; "
                "rename one."
            )
        named[part.name.lower()] = part
    return {part.name: part for part in named.values()}


def by_task(clusters: Mapping[str, list[str]] | None, place: Path | str) -> dict[str, str] | None:
    """Return the cluster of each task, None if none are given; raises `DataError` for a name that cannot be one."""
    if clusters is None:
        return None
    found: dict[str, str] = {}
    for cluster, names in clusters.items():
        check_name(cluster, "cluster", str(place))
        for name in names:
            if found.setdefault(name, cluster) != cluster:
                raise DataError(f"{place}: task {name!r} is in the clusters {found[name]!r} and {cluster!r}; take one.")
    return found


def _inside(place: Path) -> tuple[Path, ...]:
    """Return the files of data in a folder that is listed, or the file; raises `DataError` if there are none."""
    found = tuple(_data_files(place)) if place.is_dir() else (place,)
    if not found:
        raise DataError(f"{place}, which {FILE} lists, has no file of data. Take it out of the list.")
    return found


def _data_files(folder: Path) -> list[Path]:
    names = (CLUSTERS_FILE, FILE)
    found = (path for path in folder.iterdir() if path.is_file() and kind_of(path) and path.name not in names)
    return sorted(path for path in found if not is_system(path))


def _read_clusters(path: Path) -> dict[str, list[str]]:
    content = read_json(path)
    clusters = content.get("clusters") if isinstance(content, dict) else None
    if not isinstance(clusters, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in clusters.values()
    ):
        raise DataError(f'{path} needs "clusters": an object that maps each cluster to a list of task names.')
    return clusters
