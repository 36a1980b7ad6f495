"""Where FLAN 2021 is read from: raw datasets worded by our own templates, or the rendered copy (hub or folder)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path

from mossa.errors import DataError
from mossa.study.schema import Fields, Tasks
from mossa.tasks.flan2021.catalogue import DatasetEntry, catalogue, choose, entries, read_data
from mossa.tasks.flan2021.wording import Group, Where
from mossa.tasks.formats import Found, read_table
from mossa.tasks.hub import CONVERTED, hub_files, hub_tables
from mossa.tasks.rows import read_parquet, read_rows
from mossa.tasks.split import Limits, keep_splits, split_by_input
from mossa.tasks.task import Example, Task, Unusable

RENDERED = Fields(prompt="inputs", target="targets")
SPLITS = ("train", "validation", "test")


@cache
def groups() -> dict[str, Group]:
    """Return the template group of each dataset that has templates of our own, in the order of the catalogue."""
    found: dict[str, Group] = {}
    for cluster in catalogue()["clusters"]:
        for given in read_data(f"templates/{cluster}.yaml").values():
            group = Group.model_validate(given)
            found |= dict.fromkeys(group.datasets, group)
    return {name: found[name] for name in entries() if name in found}


def load_raw(settings: Tasks) -> list[Task]:
    """Return tasks made from raw datasets on the hub and our templates; a tenth of train at most is for validation.

    Raises `DataError` for a name without templates and if a dataset cannot be loaded.
    """
    limits = Limits(settings.train, settings.validation, settings.test)
    chosen = choose(settings.only, list(groups()), "the collection flan2021-raw")
    tasks: list[Task] = []
    for entry in chosen:
        where = groups()[entry.name].datasets[entry.name]
        counted: Counter[str] = Counter()
        train = _examples(entry.name, where, where.train, settings.revision, counted)
        if where.test is None:
            splits = split_by_input(train, limits, settings.seed, entry.name)
        else:
            test = _examples(entry.name, where, where.test, settings.revision, counted)
            splits, repeated = keep_splits([train, [], test], limits, settings.seed, entry.name)
            counted["in two splits"] = repeated
        tasks.append(Task(entry.name, entry.cluster, *splits, left_out=counted))
    return tasks


def _examples(name: str, where: Where, split: str, revision: str | None, counted: Counter[str]) -> list[Example]:
    files = hub_tables(where.repository, revision or CONVERTED, where.config, split, one=where.rows is not None)
    group = groups()[name]
    examples: list[Example] = []
    rows = chain.from_iterable(read_parquet(file, group.columns(name)) for file in files)
    for row in islice(rows, where.rows):
        try:
            examples.append(group.example(name, row))
        except Unusable as reason:
            counted[str(reason)] += 1
    if not examples:
        why = ", ".join(f"{count:,} {reason}" for reason, count in counted.items()) or "there are none"
        raise DataError(f"{name}: {where.repository}, {split}: no row can be used ({why}); leave the task out.")
    return examples


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
