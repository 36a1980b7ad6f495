"""FLAN 2021's datasets in their raw form on the hub, worded by templates of our own."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import chain, islice

from mossa.errors import DataError
from mossa.study.schema import Tasks
from mossa.tasks.flan2021.catalogue import catalogue, choose, entries, read_data
from mossa.tasks.flan2021.wording import Group, Where
from mossa.tasks.hub import CONVERTED, hub_tables
from mossa.tasks.rows import read_parquet
from mossa.tasks.split import Limits, keep_splits, split_by_input
from mossa.tasks.task import Example, Task, Unusable


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
