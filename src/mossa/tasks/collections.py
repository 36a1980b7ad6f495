"""Where tasks come from: a folder, or a collection by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mossa.errors import DataError, choices
from mossa.study.paths import looks_local
from mossa.study.schema import Tasks
from mossa.tasks.flan2021.copy import is_copy, load_folder_copy, load_hub_copy
from mossa.tasks.flan2021.raw import load_raw
from mossa.tasks.jsonl import load_folder
from mossa.tasks.split import Limits
from mossa.tasks.task import Task


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


def load_tasks(settings: Tasks) -> list[Task]:
    """Return the study's tasks, sorted by name.

    Raises `DataError` for whatever is wrong with them, with the place and the choices.
    """
    source = settings.source
    _no_idle_keys(settings)
    if not is_folder(source):
        if source not in COLLECTIONS:
            raise DataError(
                f"tasks.source: {source!r} is neither a folder nor a collection. {choices(source, COLLECTIONS)}"
            )
        tasks = COLLECTIONS[source](settings)
    elif is_copy(Path(source)) and settings.clusters is None:
        tasks = load_folder_copy(Path(source), settings)
    else:
        limits = Limits(settings.train, settings.validation, settings.test)
        tasks = load_folder(
            Path(source), limits, settings.seed, settings.only, settings.clusters, settings.demonstrations
        )
    return sorted(tasks, key=lambda task: task.name)


def is_folder(source: str) -> bool:
    """Tell whether `tasks.source` means a folder, and not a collection."""
    return Path(source).is_dir() or looks_local(source)


def left_out(tasks: list[Task]) -> str | None:
    """Return a sentence that counts the examples which the sources of `tasks` have and no split holds, or None."""
    reasons = sum((Counter(task.left_out) for task in tasks), Counter[str]())
    counts = [f"{count:,} {reason}" for reason, count in sorted(reasons.items())]
    return f"examples left out: {', '.join(counts)}" if counts else None


def _no_idle_keys(settings: Tasks) -> None:
    """Refuse keys that would change nothing."""
    folder = is_folder(settings.source)
    if settings.clusters is not None and not folder:
        raise DataError(
            f"tasks.clusters: the collection {settings.source!r} brings its own clusters; leave this key out."
        )
    if settings.revision is not None and (folder or settings.source == "tinyflan"):
        raise DataError("tasks.revision: only collections on the hub have revisions; leave this key out.")
    if settings.demonstrations and not folder:
        raise DataError("tasks.demonstrations: only tasks of Super-NaturalInstructions have them; leave this key out.")
