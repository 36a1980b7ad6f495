"""The 60 tasks as data: one YAML file per cluster, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any
from zlib import crc32

from mossa.errors import DataError, choices
from mossa.tinyflan.skills import SKILLS
from mossa.tinyflan.world import draw_slots, read_data

# Named and counted as in the FLAN 2021 collection.
CLUSTERS = (
    "natural_language_inference", "commonsense", "sentiment", "paraphrase", "closed_book_qa", "struct_to_text",
    "reading_comprehension", "reading_comprehension_commonsense", "coreference", "translation", "summarization",
    "misc",
)  # fmt: skip

# Every prompt, and every natural text of a task, ends in these words.
CUE = " answer:"
SPLITS = ("train", "train", "train", "train", "train", "validation", "test", "test")


@dataclass(frozen=True, slots=True)
class Specification:
    """A task as described in its YAML file; `planted` is the base (`a` or `b`) that is taught the skill."""

    name: str
    cluster: str
    mirrors: str
    planted: str
    lexicon: Mapping[str, Any]
    slots: dict[str, str]
    fields: dict[str, str]
    target: str
    natural: tuple[str, ...]
    templates: tuple[str, ...]
    skill: str = "lookup"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One input of a task: the words to fill texts with, the target, and its `identity`.

    The identity is the task's fields, all of which every template shows: different inputs never look the same.
    """

    words: Mapping[str, str]
    target: str
    identity: str

    @property
    def split(self) -> str:
        """Return `train`, `validation` or `test`, by the input alone: no two splits ever share one."""
        return SPLITS[crc32(self.identity.encode()) % len(SPLITS)]


@cache
def specifications() -> dict[str, Specification]:
    """Return all tasks by name, in the order of the clusters."""
    found: dict[str, Specification] = {}
    for cluster in CLUSTERS:
        for name, entry in read_data(f"clusters/{cluster}.yaml").items():
            entry |= {key: tuple(entry[key]) for key in ("natural", "templates")}
            found[name] = Specification(name=name, cluster=cluster, **entry)
    return found


def specification(name: str) -> Specification:
    """Return the task called `name`.

    Raises `DataError` with the choices if there is none.
    """
    if name not in specifications():
        raise DataError(f"TinyFLAN has no task {name!r}. {choices(name, specifications())}")
    return specifications()[name]


def draw(task: Specification, rng: Random) -> Drawn:
    """Return the next input of a task; the supply is practically unlimited and determined by `rng`."""
    slots = draw_slots(rng, task.slots)
    slots |= SKILLS[task.skill](rng, task.lexicon, slots)
    words = slots | {field: text.format(**slots) for field, text in task.fields.items()}
    identity = " | ".join(words[field] for field in task.fields)
    return Drawn(words, task.target.format(**words), identity)
