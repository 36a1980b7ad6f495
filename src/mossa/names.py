"""Names that serve as keys in tables, units and pages and are never mistaken for paths; and counts in words."""

from __future__ import annotations

import re

from mossa.errors import DataError

LONGEST_NAME = 120  # two of them, an '@' and an ending fit into the 255 bytes of a file name
SAFE_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.+-]{{0,{LONGEST_NAME - 1}}}")


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


def count(n: int, noun: str) -> str:
    """Return `n` things in words: 1 task, 2 tasks."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
