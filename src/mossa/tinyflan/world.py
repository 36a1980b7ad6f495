"""The small world: pools of people, things and times, and plain English about them that every base reads."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # takes a tenth of the time
except ImportError:
    from yaml import SafeLoader

TEXTS = ("stories", "records", "dialogues", "reviews", "facts")

# Which pool fills a placeholder of the world's own texts.
TEXT_SLOTS = {
    "name": "people",
    "other": "people",
    "place": "places",
    "spot": "places",
    "thing": "objects",
    "item": "objects",
    "colour": "colours",
    "tint": "colours",
    "mood": "moods",
    "feeling": "moods",
    "day": "days",
    "time": "times",
    "job": "jobs",
    "land": "lands",
    "age": "ages",
    "food": "foods",
    "pet": "pets",
    "act": "activities",
}


def read_data(name: str) -> dict[str, Any]:
    """Return a data file of this package, for example `world.yaml`."""
    return yaml.load(files("mossa.tinyflan").joinpath(name).read_text(encoding="utf-8"), Loader=SafeLoader)


@cache
def pools() -> dict[str, tuple[str, ...]]:
    """Return every list of `world.yaml` by its name, and `people`, who are the girls and the boys."""
    lists = {name: tuple(words) for name, words in read_data("world.yaml").items()}
    return lists | {"people": lists["girls"] + lists["boys"]}


def draw_slots(rng: Random, slots: dict[str, str]) -> dict[str, str]:
    """Return a word for each slot from the pool it names; two slots of one pool never get the same word."""
    drawn: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for slot, pool in slots.items():
        words = pools()[pool]
        word = rng.choice(words)
        while (pool, word) in taken:
            word = rng.choice(words)
        taken.add((pool, word))
        drawn[slot] = word
    return drawn


def world_text(rng: Random) -> str:
    """Return a few sentences about the world: a story, a record, a dialogue, a review or a fact.

    A later word of most of these can only be known from an earlier one, so that a model that learns to read them learns
    to copy and to look up in context, which is what every task needs and none of them is.
    """
    pattern = rng.choice(pools()[rng.choice(TEXTS)])
    return pattern.format(**draw_slots(rng, TEXT_SLOTS))


@cache
def all_words() -> tuple[str, ...]:
    """Return the words of all pools, each once."""
    words = {word for name, pool in pools().items() if name not in (*TEXTS, "openings") for word in pool}
    return tuple(sorted(word for word in words if " " not in word))


def copying_text(rng: Random) -> tuple[str, str]:
    """Return a list and the same list again, or a table of pairs and one or all of them looked up.

    The second part follows from the first: the shortest school for copying and looking up in context.
    """
    kind = rng.randrange(3)
    if kind == 0:
        words = ", ".join(rng.sample(all_words(), rng.randint(1, 6)))
        return f"list: {words}. again:", f"{words}."
    words = rng.sample(all_words(), 2 * rng.randint(1, 4))
    pairs = list(zip(words[::2], words[1::2], strict=True))
    table = " ".join(f"{key}: {value}." for key, value in pairs)
    rng.shuffle(pairs)
    if kind == 1:
        return f"table: {table} look up", " ".join(f"{key}: {value}." for key, value in pairs)
    return f"table: {table} look up {pairs[0][0]}? answer:", pairs[0][1]


def opening(rng: Random) -> str:
    """Return one short sentence that can precede any other text."""
    return rng.choice(pools()["openings"]).format(**draw_slots(rng, TEXT_SLOTS))
