"""What a task does: each skill turns drawn words into further ones, including all that the target needs.

A skill takes `(rng, lexicon, slots)` and returns new slots. The lexicon is the task's own: groups of words, or
dictionaries for the translations. Texts are not here but in `clusters/*.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from mossa.tinyflan.world import pools

Lexicon = Mapping[str, Any]
Slots = Mapping[str, str]
Skill = Callable[[Random, Lexicon, Slots], dict[str, str]]

SKILLS: dict[str, Skill] = {}


def skill(function: Skill) -> Skill:
    """Register a skill under its function's name."""
    SKILLS[function.__name__] = function
    return function


@skill
def lookup(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Draw a group and one or two words of it: the answer is the group."""
    del slots
    if not lexicon:
        return {}
    group = rng.choice(tuple(lexicon))
    words = lexicon[group]
    word, second = rng.sample(words, 2) if len(words) > 1 else (words[0], words[0])
    return {"group": group, "word": word, "second": second}


@skill
def value_of_relation(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Give a relation the kind of value it takes."""
    drawn = lookup(rng, lexicon, slots)
    kind = {"works as a": "job", "lives in": "land", "likes": "food"}[drawn["group"]]
    return drawn | {"value": slots[kind]}


@skill
def count(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Start with three to six of a thing and take one more or one away."""
    drawn = lookup(rng, lexicon, slots)
    start = rng.randint(3, 6)
    numbers = pools()["numbers"]
    return drawn | {
        "count": numbers[start - 1],
        "result": numbers[start if drawn["group"] == "more" else start - 2],
    }


@skill
def sum_of_two(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Add one or two to a number from one to four."""
    del lexicon, slots
    left, right = rng.randint(1, 4), rng.randint(1, 2)
    numbers = pools()["numbers"]
    return {"left": numbers[left - 1], "right": numbers[right - 1], "result": numbers[left + right - 1]}


@skill
def chief_and_aide(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Give two people offices, in any order, of which one gives orders to the other."""
    chief, aide = rng.choice(lexicon["chief"]), rng.choice(lexicon["aide"])
    first, last = rng.sample([(slots["name"], chief), (slots["other"], aide)], 2)
    return {"first_name": first[0], "first_role": first[1], "last_name": last[0], "last_role": last[1]}


def choose(chosen: dict[str, str]) -> Skill:
    """Return a skill whose result is the slot that `chosen` names for the group of the drawn word."""

    def choosing(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
        drawn = lookup(rng, lexicon, slots)
        return drawn | {"result": slots[chosen[drawn["group"]]]}

    return choosing


# A word decides which of two things in the text is the answer.
SKILLS.update(
    {
        "stay_or_go": choose({"stay": "place", "go": "spot"}),
        "near_or_past": choose({"near": "act", "past": "work"}),
        "look_or_origin": choose({"look": "colour", "origin": "land"}),
        "mover_or_load": choose({"mover": "mover", "load": "load"}),
        "first_or_last": choose({"first": "name", "last": "other"}),
    }
)


@skill
def two_animals(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Show the animal that makes a sound and another one, in any order."""
    drawn = lookup(rng, lexicon, slots)
    other = rng.choice([animal for animal in lexicon if animal != drawn["group"]])
    first, last = rng.sample([drawn["group"], other], 2)
    return drawn | {"first": first, "last": last}


@skill
def pronoun(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Name a girl and a boy, in any order, and refer to one of them."""
    drawn = lookup(rng, lexicon, slots)
    first, last = rng.sample([slots["girl"], slots["boy"]], 2)
    return drawn | {"first": first, "last": last, "referent": slots[drawn["group"]]}


@skill
def change_of_mind(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """State an earlier opinion, which does not count, and the present one."""
    drawn = lookup(rng, lexicon, slots)
    return drawn | {"before": rng.choice(lexicon[rng.choice(tuple(lexicon))])}


@skill
def translate(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Draw a word of each dictionary: `verb` is English, `verb_in` the same word in the invented language."""
    del slots
    drawn: dict[str, str] = {}
    for kind, dictionary in lexicon.items():
        word = rng.choice(tuple(dictionary))
        drawn |= {kind: word, f"{kind}_in": dictionary[word]}
    return drawn
