"""The rendered collection: the copy on the hub, or the same files in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mossa.errors import DataError
from mossa.study.schema import Fields, Tasks
from mossa.tasks.flan2021.catalogue import DatasetEntry, catalogue, choose, entries
from mossa.tasks.flan2021.raw import groups
from mossa.tasks.formats import Found, read_table
from mossa.tasks.hub import hub_files
from mossa.tasks.rows import read_rows
from mossa.tasks.split import Limits, keep_splits
from mossa.tasks.task import Task

RENDERED = Fields(prompt="inputs", target="targets")
SPLITS = ("train", "validation", "test")


def load_hub_copy(settings: Tasks) -> list[Task]:
    """Return the tasks of FLAN 2021 as rendered in the hub's copy, with the splits it has.

    Raises `DataError` for an unknown name and if a file cannot be loaded.
    """
    repository, revision = catalogue()["repository"], settings.revision or catalogue()["revision"]
    offered = [entry.name for entry in entries().values() if entry.in_repository]
    elsewhere = [name for name in catalogue()["not_in_repository"] if name in groups()]
    hint = f"With tasks.source: flan2021-raw there are also {' and '.join(elsewhere)}. "
    chosen = choose(settings.only, offered, f"the hub's copy ({repository})", hint)
    paths = {(entry.name, split): file_name(entry.name, split) for entry in chosen for split in SPLITS}
    files = hub_files(repository, revision, list(paths.values()))
    return _load(chosen, {key: files[path] for key, path in paths.items()}, settings)


def load_folder_copy(folder: Path, settings: Tasks) -> list[Task]:
    """Return the tasks of FLAN 2021 whose files are in `folder`, which is laid out as the hub's copy.

    Raises `DataError` for an unknown name, a name without all its splits, and a file in the wrong format.
    """
    offered = [name for name in entries() if (folder / file_name(name, "train")).is_file()]
    chosen = choose(settings.only, offered, str(folder))
    paths = {(entry.name, split): folder / file_name(entry.name, split) for entry in chosen for split in SPLITS}
    for (name, split), path in paths.items():
        if not path.is_file():
            raise DataError(f"{folder}: {name} has no {split} split; {path.relative_to(folder)} is missing.")
    return _load(chosen, paths, settings)


def is_copy(folder: Path) -> bool:
    """Tell whether `folder` is laid out as the hub's copy."""
    return any((folder / file_name(name, "train")).is_file() for name in entries())


def file_name(name: str, split: str) -> str:
    """Return the path of a split in the copy."""
    return catalogue()["file"].format(name=name, split=split)


def _load(chosen: Sequence[DatasetEntry], files: Mapping[tuple[str, str], Path], settings: Tasks) -> list[Task]:
    limits = Limits(settings.train, settings.validation, settings.test)
    tasks: list[Task] = []
    for entry in chosen:
        stated = {entry.name, entry.name + catalogue()["suffix"]}
        found = {split: Found() for split in SPLITS}
        for split, rows in found.items():
            read_table(read_rows(files[entry.name, split]), entry.name, rows, RENDERED, stated=stated)
        read = [rows.examples[entry.name] for rows in found.values()]
        splits, repeated = keep_splits(read, limits, settings.seed, entry.name)
        empty = sum(rows.left_out[entry.name]["empty"] for rows in found.values())
        left_out = {"empty": empty, "in two splits": repeated}
        tasks.append(Task(entry.name, entry.cluster, *splits, left_out=left_out))
    return tasks
