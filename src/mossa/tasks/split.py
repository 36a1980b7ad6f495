"""Splits examples into train, validation and test by input, so that no prompt leaks from one into another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(_same_prompt(example.prompt), []).append(example)
    if len(groups) < 4 * FEWEST_TEST_PROMPTS:
        raise DataError(
            f"task {task!r} has {len(groups)} different prompts; it needs at least {4 * FEWEST_TEST_PROMPTS}, "
            "a quarter of which are for testing. Add examples, or leave the task out with tasks.only."
        )
    ordered = sorted(groups, key=lambda prompt: _draw(seed, prompt))
    n_test = min(limits.test, len(ordered) // 4)
    n_validation = min(limits.validation, len(ordered) // 10)
    test = tuple(groups[prompt][0] for prompt in ordered[:n_test])
    validation = tuple(groups[prompt][0] for prompt in ordered[n_test : n_test + n_validation])
    rest = [example for prompt in ordered[n_test + n_validation :] for example in groups[prompt]]
    return tuple(rest[: limits.train]), validation, test


def _same_prompt(prompt: str) -> str:
    return " ".join(prompt.split())


def _draw(seed: int, prompt: str) -> bytes:
    return hashlib.blake2b(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
