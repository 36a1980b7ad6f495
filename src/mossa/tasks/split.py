"""Splits examples into train, validation and test by input, so that no prompt leaks from one into another."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mossa.errors import DataError
from mossa.tasks.task import Example

FEWEST_TEST_PROMPTS = 4  # the debiased estimator is undefined below


@dataclass(frozen=True, slots=True)
class Limits:
    """At most this many examples per split."""

    train: int
    validation: int
    test: int


Splits = tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]


def split_by_input(examples: Sequence[Example], limits: Limits, seed: int, task: str) -> Splits:
    """Return (train, validation, test), drawn by a hash of seed and prompt.

    All examples that share a prompt (several references for one input) go to the same split. Validation and test
    hold each prompt once, with its first target; train keeps every target. A small task gives at most a quarter
    of its prompts to test and a tenth to validation. Because the order is a hash of each prompt, adding examples
    to a file moves none of the old ones out of order. Raises `DataError` if there are too few prompts.
    """
    groups = _drawn(_grouped(examples), seed)
    if len(groups) < 4 * FEWEST_TEST_PROMPTS:
        raise DataError(
            f"task {task!r} has {len(groups)} different prompts; it needs at least {4 * FEWEST_TEST_PROMPTS}, "
            "a quarter of which are for testing. Add examples, or leave the task out with tasks.only."
        )
    n_test = min(limits.test, len(groups) // 4)
    n_validation = min(limits.validation, len(groups) // 10)
    test = tuple(group[0] for group in groups[:n_test])
    validation = tuple(group[0] for group in groups[n_test : n_test + n_validation])
    rest = [example for group in groups[n_test + n_validation :] for example in group]
    return tuple(rest[: limits.train]), validation, test


def keep_splits(given: Sequence[Sequence[Example]], limits: Limits, seed: int, task: str) -> tuple[Splits, int]:
    """Return a source's own (train, validation, test), cut to `limits`, and how many examples were left out of them.

    A prompt of the test split is left out of the two others, and one of the validation split out of train. A split that
    is too large is cut to prompts drawn by a hash of seed and prompt. Validation and test hold each prompt once. A
    source without validation gives at most a tenth of the prompts of train to it. Raises `DataError` if there is
    nothing to train on or too little to test on.
    """
    seen: set[str] = set()
    repeated = 0
    drawn: list[list[list[Example]]] = []
    for examples in reversed(given):
        groups = _grouped(example for example in examples if folded(example) not in seen)
        repeated += len(examples) - sum(map(len, groups.values()))
        seen |= groups.keys()
        drawn.append(_drawn(groups, seed))
    test, validation, train = drawn
    if not validation:
        n_validation = min(limits.validation, len(train) // 10)
        validation, train = train[:n_validation], train[n_validation:]
    if len(test) < FEWEST_TEST_PROMPTS or not train:
        raise DataError(
            f"task {task!r} has {len(test)} different test prompts and {len(train)} to train on; it needs at least "
            f"{FEWEST_TEST_PROMPTS} and 1. Leave the task out with tasks.only."
        )
    splits = (
        tuple([example for group in train for example in group][: limits.train]),
        tuple(group[0] for group in validation[: limits.validation]),
        tuple(group[0] for group in test[: limits.test]),
    )
    return splits, repeated


def each_once(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return the first example of every prompt, in their order."""
    return tuple(group[0] for group in _grouped(examples).values())


def folded(example: Example) -> str:
    """Return the text by which the splits decide whether two prompts are the same.

    Two prompts are the same if they are equal after Unicode normalisation (NFKC) and folding of white space, earlier
    turns included.
    """
    turns = [f"{role}: {text}" for role, text in example.before]
    return _spaced(unicodedata.normalize("NFKC", "\n".join([*turns, example.prompt])))


def _grouped(examples: Iterable[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(folded(example), []).append(example)
    return groups


def _drawn(groups: dict[str, list[Example]], seed: int) -> list[list[Example]]:
    """Return the groups in an order that depends only on `seed` and their prompts, not on the order of reading."""

    def draw(group: list[Example]) -> bytes:
        # by the prompt as written, so that a change of folding moves only the prompts that it merges
        prompt = min(_spaced("\n".join([*(text for _, text in one.before), one.prompt])) for one in group)
        return hashlib.blake2b(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    return sorted(groups.values(), key=draw)


def _spaced(text: str) -> str:
    return " ".join(text.split())
