"""Collections and tasks in words, as `mossa tasks` prints them."""

from __future__ import annotations

from pathlib import Path

from mossa.api.text import Text


def list_tasks(source: str | Path | None = None) -> Text:
    """Return the collections, or the clusters and tasks of one, of a study file or of a folder.

    Raises `MossaError` if there is no such thing, or its tasks cannot be had.
    """
    from mossa.tasks.listing import list_collections, list_source

    return Text("\n".join(list_collections() if source is None else list_source(str(source))))


def show_task(name: str, of: str | Path | None = None) -> Text:
    """Return where a task comes from, how many examples it has, and some of its prompts.

    `of`: a collection, a study file or a folder; default: all collections. Raises `MossaError` if there is no such
    task.
    """
    from mossa.tasks.listing import show_task

    return Text("\n".join(show_task(name, None if of is None else str(of))))
