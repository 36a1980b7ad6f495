"""What `mossa tasks` prints about collections and tasks, and what `mossa init` writes about the columns of data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mossa.errors import DataError, choices
from mossa.names import count
from mossa.study.loading import load_study
from mossa.study.paths import built_in_studies
from mossa.study.schema import Fields, Tasks
from mossa.tasks.collections import COLLECTIONS, HUB, is_local, load_tasks, open_hub, remarks
from mossa.tasks.flan2021.catalogue import catalogue, entries
from mossa.tasks.flan2021.sources import SPLITS, file_name, groups, load_hub_copy
from mossa.tasks.folder import Part, open_source
from mossa.tasks.formats import recognise, suggest
from mossa.tasks.hub import in_cache
from mossa.tasks.natural_instructions import is_task_file
from mossa.tasks.rows import read_rows
from mossa.tasks.task import Example, Task

LONGEST = 700  # characters of an example that are printed
SHOWN = 3
BUILT_IN = ("tinyflan", "flan2021", "flan2021-raw")  # what is known of these without loading them
Seen = Callable[[Example], list[str]]

TASK_COLUMNS = ("task", "category", "subject", "subset", "dataset", "source")  # columns that may name the task of a row


def list_collections() -> list[str]:
    """Return a line for each collection."""
    from mossa.tinyflan.catalogue import CLUSTERS, specifications

    copied = [entry for entry in entries().values() if entry.in_repository]
    clusters = len(catalogue()["clusters"])
    rows = [
        ("tinyflan", len(specifications()), len(CLUSTERS), "made here, as many examples as you ask for"),
        ("flan2021", len(copied), clusters, f"{catalogue()['repository']} on the hub, as rendered by FLAN"),
        ("flan2021-raw", len(groups()), clusters, "the raw datasets on the hub, worded by mossa"),
    ]
    lines = [f"{name:14}{tasks:4} tasks in {count} clusters   {where}" for name, tasks, count, where in rows]
    lines += [f"{name:14}registered   {_summary(name)}" for name in COLLECTIONS if name not in {row[0] for row in rows}]
    return [*lines, "", "More: mossa tasks ls flan2021, mossa tasks ls my-study.yaml, mossa tasks show rte"]


def list_source(source: str) -> list[str]:
    """Return the tasks of a collection, of a study file or of a folder, cluster by cluster.

    Raises `MossaError` if there is no such source, or its tasks cannot be loaded.
    """
    if source == "tinyflan":
        from mossa.tinyflan.catalogue import specifications

        return _by_cluster((task.cluster, task.name) for task in specifications().values())
    if source == "flan2021":
        caps = catalogue()["caps"]
        lines = _by_cluster((entry.cluster, entry.name) for entry in entries().values() if entry.in_repository)
        sizes = ", ".join(f"{caps[split]:,} {split}" for split in SPLITS)
        missing = ", ".join(catalogue()["not_in_repository"])
        return [*lines, "", f"At most {sizes} examples each in the paper. Not in the hub's copy: {missing}."]
    if source == "flan2021-raw":
        lines = _by_cluster((entries()[name].cluster, name) for name in groups())
        missing = ", ".join(name for name in entries() if name not in groups())
        return [*lines, "", f"Ten templates each. Without templates of ours: {missing}."]
    tasks = load_tasks(source_settings(source))
    width = max(len(task.name) for task in tasks) + 2
    lines = [f"{'':{width}}{'train':>8}{'validation':>12}{'test':>8}  cluster"]
    for task in sorted(tasks, key=lambda task: (task.cluster, task.name)):
        lines.append(
            f"{task.name:{width}}{len(task.train):8,}{len(task.validation):12,}{len(task.test):8,}  {task.cluster}"
        )
    clusters = len({task.cluster for task in tasks})
    return [*lines, f"{count(len(tasks), 'task')} in {count(clusters, 'cluster')}", *remarks(tasks)]


def show_task(name: str, source: str | None, seen: Seen | None = None) -> list[str]:
    """Return what is known of a task, with example prompts; without `source` all collections are searched.

    `seen` returns how a model sees the first example. Raises `MossaError` if there is no such task.
    """
    from mossa.tinyflan.catalogue import specifications

    if source is not None and source not in BUILT_IN:
        return _describe(_one(name, load_tasks(source_settings(source)), source), seen)
    if source in (None, "tinyflan") and name in specifications():
        task = _one(name, load_tasks(Tasks(source="tinyflan", only=[name], train=SHOWN, validation=1, test=4)), "")
        return [f"{name}: TinyFLAN, cluster {task.cluster}", *_examples(task, seen)]
    if source == "tinyflan":
        raise DataError(f"tinyflan has no task {name!r}. {choices(name, specifications())}")
    if name in entries():
        return _flan2021(name, seen)
    known = [*specifications(), *entries()]
    raise DataError(f"no collection has a task {name!r}. {choices(name, known)} For a study's own: --of my-study.yaml")


def _flan2021(name: str, seen: Seen | None) -> list[str]:
    entry = entries()[name]
    lines = [
        f"{name}: FLAN 2021, cluster {entry.cluster}, templates of {entry.templates}, dataset {entry.dataset}",
        f"hub's copy: {catalogue()['repository'] if entry.in_repository else 'not there'}",
    ]
    if name in groups():
        where = groups()[name].datasets[name]
        splits = f"{where.train} and {where.test}" if where.test else f"{where.train} alone"
        lines.append(f"raw: {where.repository} {where.config or ''} ({splits})")
        lines += ["", "Templates of ours:", *(f"{k:3}. {text!r}" for k, text in enumerate(groups()[name].templates, 1))]
    if not entry.in_repository:
        return lines
    if not in_cache(catalogue()["repository"], catalogue()["revision"], [file_name(name, split) for split in SPLITS]):
        return [*lines, "", "No example of the hub's copy: it is not in the cache. A run that uses it downloads it."]
    sizes = {split: catalogue()["caps"][split] for split in SPLITS}
    task = load_hub_copy(Tasks(source="flan2021", only=[name], **sizes))[0]
    return [*lines, "", *_describe(task, seen)[1:]]


def _describe(task: Task, seen: Seen | None) -> list[str]:
    sizes = ", ".join(f"{len(getattr(task, split)):,} {split}" for split in SPLITS)
    return [f"{task.name}: cluster {task.cluster}", "; ".join([sizes, *remarks([task])]), *_examples(task, seen)]


def _examples(task: Task, seen: Seen | None) -> list[str]:
    lines: list[str] = []
    for example in task.train[:SHOWN]:
        template = f" ({example.template})" if example.template is not None else ""
        for role, text in example.before:
            lines += ["", f"--- {role}", _shortened(text)]
        lines += ["", f"--- prompt{template}", _shortened(example.prompt), "--- target", _shortened(example.target)]
    return [*lines, *(["", *seen(task.train[0])] if seen else [])]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"


def _by_cluster(tasks: Iterable[tuple[str, str]]) -> list[str]:
    clusters: dict[str, list[str]] = {}
    for cluster, name in tasks:
        clusters.setdefault(cluster, []).append(name)
    total = sum(map(len, clusters.values()))
    lines = [f"{cluster} ({len(names)}): {', '.join(names)}" for cluster, names in clusters.items()]
    return [*lines, f"{count(total, 'task')} in {count(len(clusters), 'cluster')}"]


def _one(name: str, tasks: Sequence[Task], source: str) -> Task:
    for task in tasks:
        if task.name == name:
            return task
    raise DataError(f"{source} has no task {name!r}. {choices(name, [task.name for task in tasks])}")


def source_settings(source: str) -> Tasks:
    """Return the `tasks` of a study file or a built-in study, or those that mean a collection, files or a hub's set.

    Raises `DataError` if there is no such source.
    """
    path = Path(source)
    if source in COLLECTIONS or source.startswith(HUB) or path.is_dir() or (path.is_file() and not is_study(source)):
        return Tasks(source=source)
    if is_study(source) and (path.is_file() or source in built_in_studies()):
        return load_study(path).tasks
    if is_local(source) or is_study(source):
        raise DataError(f"{source} does not exist. Give a study file, a folder of task files, or a collection.")
    known = {*COLLECTIONS, *built_in_studies()}
    raise DataError(f"{source!r} is not a study, folder or collection. {choices(source, known)}")


def is_study(source: str) -> bool:
    """Tell whether `source` is written as a study file, or names a study that comes with mossa."""
    return source.endswith((".yaml", ".yml")) or source in built_in_studies()


def _summary(collection: str) -> str:
    return (COLLECTIONS[collection].__doc__ or "").strip().partition("\n")[0]


def found_mapping(source: str) -> list[str]:
    """Return lines for the `tasks` of a study file that say what each column of the first row holds.

    A recognised format gives only a comment; a guess is written out, to be checked. A source that cannot be read gives
    a comment with the reason.
    """
    if source in COLLECTIONS:
        return []
    try:
        opened = open_hub(Tasks(source=source)) if source.startswith(HUB) else open_source(Path(source).expanduser())
        part = next(iter(opened.parts.values()))
        row = next(read_rows(part.files[0]), ("", None))[1]
    except DataError as error:
        return [f"# not looked at yet: {' '.join(str(error).split())}"]
    return _lines(part, row) if isinstance(row, Mapping) and not is_task_file(row) else []


def _lines(part: Part, row: Mapping[str, object]) -> list[str]:
    fitting = recognise(row)
    columns = ", ".join(map(str, row))
    if part.fields:
        lines = [f"# fields: {_written(part.fields)}   # as dataset_info.json says of {part.name}"]
    elif fitting:
        others = "".join(f"; {name} fits too" for name in [*fitting][1:])
        lines = [f"# fields: {_written(next(iter(fitting.values())))}   # recognised: {next(iter(fitting))}{others}"]
    elif guess := suggest(row):
        lines = [f"fields: {_written(guess)}   # a guess; check it with `mossa tasks show`. The columns: {columns}"]
    else:
        lines = [f"fields: {{prompt: , target: }}   # name two of the columns: {columns}"]
    named = [column for column in TASK_COLUMNS if isinstance(row.get(column), str)]
    if named and "inputs" not in row:
        lines.append(f"# add `task: {named[0]}` to fields to make a task of each {named[0]}")
    return lines


def _written(fields: Fields) -> str:
    named = fields.model_dump(exclude_none=True)
    return "{" + ", ".join(f"{key}: {json.dumps(column)}" for key, column in named.items()) + "}"
