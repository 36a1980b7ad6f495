"""What FLAN 2021 consists of: 69 names, their 12 clusters, 60 template groups and 62 datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from mossa.errors import DataError, choices


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One name of the collection: its cluster, whose templates word it, and its dataset in the FLAN paper's count."""

    name: str
    cluster: str
    templates: str
    dataset: str
    in_repository: bool


def read_data(name: str) -> Any:
    """Return a data file of this package, for example `catalogue.yaml`."""
    return yaml.safe_load(files("mossa.tasks.flan2021").joinpath(name).read_text(encoding="utf-8"))


@cache
def catalogue() -> dict[str, Any]:
    """Return the catalogue as it is written."""
    return read_data("catalogue.yaml")


@cache
def entries() -> dict[str, DatasetEntry]:
    """Return every name of the collection, in the order of the clusters."""
    missing = set(catalogue()["not_in_repository"])
    found: dict[str, DatasetEntry] = {}
    for cluster, names in catalogue()["clusters"].items():
        for name, given in names.items():
            said = given or {}
            found[name] = DatasetEntry(
                name, cluster, said.get("templates", name), said.get("dataset", name), name not in missing
            )
    return found


def choose(names: Sequence[str] | None, offered: Sequence[str], source: str, hint: str = "") -> list[DatasetEntry]:
    """Return the entries that `names` (of datasets or clusters) mean among those a source offers; all for None.

    `hint` says where else to look for what it does not have. Raises `DataError` for a name that is not in the
    collection, or that this source does not have.
    """
    if names is None:
        return [entries()[name] for name in offered]
    chosen: dict[str, DatasetEntry] = {}
    for wanted in names:
        meant = [entry for entry in entries().values() if wanted in (entry.name, entry.cluster)]
        if not meant:
            known = {part for entry in entries().values() for part in (entry.name, entry.cluster)}
            raise DataError(f"tasks.only: FLAN 2021 has no dataset or cluster {wanted!r}. {choices(wanted, known)}")
        there = [entry for entry in meant if entry.name in offered]
        if not there:
            raise DataError(f"tasks.only: {source} does not have {wanted}. {hint}{choices(wanted, offered)}")
        chosen |= {entry.name: entry for entry in there}
    return list(chosen.values())
