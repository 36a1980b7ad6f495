"""What a task is: a name, a cluster and three splits of examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

Turn = tuple[str, str]  # who speaks (system, user or assistant), and the text


class Unusable(Exception):
    """A row cannot become an example; the message is the reason it is counted under."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, the target that the model should give, and the template that worded it (if known).

    In a conversation the prompt is the last message of the user, and `before` holds the earlier turns.
    """

    prompt: str
    target: str
    template: str | None = None
    before: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Task:
    """A task with its cluster and its three splits; no prompt of one split occurs in another.

    `left_out` counts the examples of the source that are in no split, by what is wrong with them. `notes` say how the
    source was read.
    """

    name: str
    cluster: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    left_out: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Return a SHA-256 of each split; computed once, because every unit of a study needs it."""
        return {split: hash_examples(getattr(self, split)) for split in ("train", "validation", "test")}

    @property
    def content_hash(self) -> str:
        """Return a SHA-256 over all examples of all splits, in order."""
        return hashlib.sha256("".join(self.hashes.values()).encode()).hexdigest()

    @cached_property
    def templates_hash(self) -> str | None:
        """Return a hash of the templates of the test prompts, None where one is not known; computed once."""
        templates = [example.template for example in self.test]
        return None if None in templates else hashlib.sha256(repr(templates).encode()).hexdigest()


def hash_examples(examples: Iterable[Example]) -> str:
    """Return a SHA-256 over the examples in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(as_line(example))
    return digest.hexdigest()


def as_line(example: Example) -> bytes:
    """Return an example as a line of JSON, its end included."""
    parts = [example.prompt, example.target, example.template, *([example.before] if example.before else [])]
    return json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
