"""What a task does: each skill turns drawn words into further ones, among them whatever the target needs.

A skill takes `(rng, lexicon, slots)` and returns new slots. The lexicon is the task's own: groups of words, or
dictionaries for the translations. Texts are not here but in `clusters/*.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def two_in_any_order(rng: Random, pairs: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return the slots of two pairs as `first_…` and `last_…`, in a random order."""
    first, last = rng.sample(pairs, 2)
    return {f"first_{k}": v for k, v in first.items()} | {f"last_{k}": v for k, v in last.items()}


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
    """Add one, two or three to a number from one to eight."""
    del lexicon, slots
    left, right = rng.randint(1, 8), rng.randint(1, 3)
    numbers = pools()["numbers"]
    return {"left": numbers[left - 1], "right": numbers[right - 1], "result": numbers[left + right - 1]}


@skill
def two_places(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Tell where two people are, in any order."""
    del lexicon
    asked = {"name": slots["name"], "place": slots["place"]}
    return two_in_any_order(rng, [asked, {"name": slots["other"], "place": slots["spot"]}])


@skill
def two_roles(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Tell who holds two offices, in any order."""
    drawn = lookup(rng, lexicon, slots)
    asked = {"name": slots["name"], "role": drawn["word"]}
    return drawn | two_in_any_order(rng, [asked, {"name": slots["other"], "role": drawn["second"]}])


@skill
def two_rules(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """State two rules and show a case of one of them."""
    drawn = lookup(rng, lexicon, slots)
    shown, result = rng.choice([(slots["colour"], drawn["word"]), (slots["tint"], drawn["second"])])
    return drawn | {"shown": shown, "result": result}


@skill
def two_colours(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Ask for the colour of one of two things."""
    del lexicon
    shown, result = rng.choice([(slots["thing"], slots["colour"]), (slots["item"], slots["tint"])])
    return {"shown": shown, "result": result}


@skill
def two_animals(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Show the animal that makes a sound beside another one, in any order."""
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
def mover_or_load(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Refer to who lifts or to what is lifted, by the property that would explain the failure."""
    drawn = lookup(rng, lexicon, slots)
    return drawn | {"referent": slots[drawn["group"]]}


@skill
def first_or_last(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """Refer to the first or the last of two people, by what the one did to the other."""
    drawn = lookup(rng, lexicon, slots)
    return drawn | {"referent": slots["name"] if drawn["group"] == "first" else slots["other"]}


@skill
def change_of_mind(rng: Random, lexicon: Lexicon, slots: Slots) -> dict[str, str]:
    """State an earlier opinion, which does not count, beside the present one."""
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
