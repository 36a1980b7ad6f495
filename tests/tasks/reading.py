"""Reads files of tasks without a study around them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mossa.study.schema import Fields
from mossa.tasks.dataset_info import read_dataset_info
from mossa.tasks.folder import Part, _read, _usable, load_parts, open_source
from mossa.tasks.formats import Found
from mossa.tasks.rows import name_of
from mossa.tasks.split import Limits
from mossa.tasks.task import Example, Task


def load_folder(
    folder: Path,
    limits: Limits,
    seed: int,
    only: list[str] | None = None,
    clusters: Mapping[str, list[str]] | None = None,
    demonstrations: int = 0,
    fields: Fields | None = None,
) -> list[Task]:
    """Return the tasks in a folder or a file, sorted by name."""
    return load_parts(open_source(folder, clusters), limits, seed, only, demonstrations, fields)


def read_examples(path: Path, name: str | None = None, demonstrations: int = 0) -> list[Example]:
    """Return all examples in one file, in file order, read as dataset_info.json beside it says if that lists it."""
    listed = read_dataset_info(path.parent).items()
    parts = [Part(key, (path,), entry.fields, entry.tags) for key, entry in listed if entry.place == path.name]
    part = (parts or [Part(name or name_of(path), (path,))])[0]
    found = Found()
    _read(part, part.fields, demonstrations, found)
    return _usable(found, part.name, path)
