"""What a task is: a name, a cluster and three splits of examples."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mossa.errors import DataError

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}")


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to do: a prompt, the target the model should give, and the template that worded it (if known)."""

    prompt: str
    target: str
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its cluster and its three splits; no prompt of one split occurs in another."""

    name: str
    cluster: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

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


def check_name(name: str, what: str, where: str) -> str:
    """Return `name` if it can serve as a key everywhere.

    Raises `DataError` if it could be mistaken for a path or is not 1-120 letters, digits, `_`, `-`, `+` or `.`.
    """
    if not SAFE_NAME.fullmatch(name) or ".." in name:
        raise DataError(
            f"{where}: {name!r} cannot be the name of a {what}. Use 1 to 120 letters, digits, '_', '-', '+' "
            "or '.', beginning with a letter or digit, without '..'."
        )
    return name
