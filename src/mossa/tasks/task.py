"""What a task is: a name, a cluster and three splits of examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to do: a prompt, the target the model should give, and the template that worded it (if known)."""

    prompt: str
    target: str
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its cluster and its three splits; no prompt of one split occurs in another.

    `left_out` counts the examples of the source that are in no split, by what is wrong with them.
    """

    name: str
    cluster: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    left_out: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)

    @property
    def content_hash(self) -> str:
        """Return a SHA-256 over all examples of all splits, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(hash_examples(split).encode())
        return digest.hexdigest()


def hash_examples(examples: Iterable[Example]) -> str:
    """Return a SHA-256 over the examples in their order."""
    digest = hashlib.sha256()
    for example in examples:
        line = json.dumps([example.prompt, example.target, example.template], ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
