"""Where tasks come from: a folder, or a collection by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mossa.errors import DataError, choices
from mossa.study.paths import looks_local
from mossa.study.schema import Tasks
from mossa.tasks.jsonl import load_folder
from mossa.tasks.split import Limits
from mossa.tasks.task import Task


def _tinyflan(settings: Tasks) -> list[Task]:
    from mossa.tinyflan import load_tasks

    return load_tasks(
        names=settings.only,
        train=settings.train,
        validation=settings.validation,
        test=settings.test,
        seed=settings.seed,
    )


COLLECTIONS: dict[str, Callable[[Tasks], list[Task]]] = {"tinyflan": _tinyflan}


def load_tasks(settings: Tasks) -> list[Task]:
    """Return the study's tasks, sorted by name.

    Raises `DataError` for whatever is wrong with them, with the place and the choices.
    """
    source = settings.source
    if Path(source).is_dir() or looks_local(source):
        limits = Limits(settings.train, settings.validation, settings.test)
        return load_folder(Path(source), limits, settings.seed, settings.only, settings.clusters)
    if source not in COLLECTIONS:
        raise DataError(
            f"tasks.source: {source!r} is neither a folder nor a collection. {choices(source, COLLECTIONS)}"
        )
    if settings.clusters is not None:
        raise DataError(f"tasks.clusters: the collection {source!r} brings its own clusters; leave this key out.")
    return sorted(COLLECTIONS[source](settings), key=lambda task: task.name)
