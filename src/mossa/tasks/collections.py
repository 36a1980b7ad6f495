"""Where tasks come from: files, a data set on the hub, or a collection by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mossa.errors import DataError, choices
from mossa.hub import is_offline
from mossa.names import check_name, count
from mossa.study.paths import looks_local
from mossa.study.schema import Tasks
from mossa.tasks.flan2021.sources import is_copy, load_folder_copy, load_hub_copy, load_raw
from mossa.tasks.folder import Part, TaskSource, by_task, load_parts, open_source
from mossa.tasks.hub import CONVERTED, hub_tables
from mossa.tasks.split import Limits
from mossa.tasks.task import Task

HUB = "hub:"  # `hub:owner/name` is a data set there


def _tinyflan(settings: Tasks) -> list[Task]:
    from mossa.tasks.tinyflan import load_tasks

    return load_tasks(
        names=settings.only,
        train=settings.train,
        validation=settings.validation,
        test=settings.test,
        seed=settings.seed,
    )


COLLECTIONS: dict[str, Callable[[Tasks], list[Task]]] = {
    "tinyflan": _tinyflan,
    "flan2021": load_hub_copy,
    "flan2021-raw": load_raw,
}


def load_tasks(settings: Tasks, *, whole: bool = False) -> list[Task]:
    """Return the study's tasks, sorted by name.

    `whole`: do not split files and data sets of the hub; `test` holds every prompt once. Collections keep their own
    splits. Raises `DataError` with the place and the choices if something is wrong with them.
    """
    source = settings.source
    _no_idle_keys(settings)
    if source in COLLECTIONS:
        tasks = COLLECTIONS[source](settings)
    elif not (source.startswith(HUB) or is_local(source)):
        raise DataError(
            f"tasks.source: {source!r} is neither a folder, a file nor a collection, nor hub:owner/name. "
            f"{choices(source, COLLECTIONS)}"
        )
    elif Path(source).is_dir() and is_copy(Path(source)) and settings.clusters is None:
        tasks = load_folder_copy(Path(source), settings)
    else:
        limits = None if whole else Limits(settings.train, settings.validation, settings.test)
        opened = open_hub(settings) if source.startswith(HUB) else open_source(Path(source), settings.clusters)
        tasks = load_parts(opened, limits, settings.seed, settings.only, settings.demonstrations, settings.fields)
    return sorted(tasks, key=lambda task: task.name)


def open_hub(settings: Tasks) -> TaskSource:
    """Return the files of a data set on the hub as a source of one part; raises `DataError` if that fails."""
    repository = settings.source.removeprefix(HUB)
    files = hub_tables(
        repository,
        settings.revision or CONVERTED,
        settings.configuration,
        settings.split or "train",
        one=False,
        hint="Say which with tasks.configuration and tasks.split.",
    )
    name = check_name(repository.rpartition("/")[2], "task", settings.source)
    notes: list[str] = []
    if any(file.parent.name.startswith("partial-") for file in files):
        notes.append("the hub converted only the first part of this set; tasks.revision: main has its own files, whole")
    if is_offline():
        notes.append(f"HF_HUB_OFFLINE is set: {count(len(files), 'file')} read; whether the set has more is not known")
    clusters = by_task(settings.clusters, settings.source)
    return TaskSource(settings.source, {name: Part(name, tuple(files))}, clusters, notes)


def is_local(source: str) -> bool:
    """Tell whether `tasks.source` means a folder or a file, and not a collection."""
    return source not in COLLECTIONS and (Path(source).exists() or looks_local(source))


def remarks(tasks: list[Task]) -> list[str]:
    """Return what users should know about how `tasks` were read: counts of examples in no split, and notes."""
    reasons = sum((Counter(task.left_out) for task in tasks), Counter[str]())
    counts = [f"{count:,} {reason}" for reason, count in sorted(reasons.items()) if count]
    notes = dict.fromkeys(note for task in tasks for note in task.notes)
    return [*([f"examples left out: {', '.join(counts)}"] if counts else []), *notes]


def _no_idle_keys(settings: Tasks) -> None:
    """Raise `DataError` for keys that would change nothing."""
    hub, local = settings.source.startswith(HUB), is_local(settings.source)
    for key in ("clusters", "fields"):
        if getattr(settings, key) is not None and not (hub or local):
            what = "brings its own clusters" if key == "clusters" else "knows its own columns"
            raise DataError(f"tasks.{key}: the collection {settings.source!r} {what}; leave this key out.")
    for key in ("configuration", "split"):
        if getattr(settings, key) is not None and not hub:
            raise DataError(f"tasks.{key}: only tasks of hub:owner/name have one; leave this key out.")
    if settings.revision is not None and (local or settings.source == "tinyflan"):
        raise DataError("tasks.revision: only collections on the hub have revisions; leave this key out.")
    if settings.demonstrations and not local:
        raise DataError("tasks.demonstrations: only tasks of Super-NaturalInstructions have them; leave this key out.")
