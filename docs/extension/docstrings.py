"""Makes docstrings fit for Sphinx, which reads them as reStructuredText while ours are plain text with `code`."""

from __future__ import annotations

import re

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
MARKUP = re.compile(r"([*|_\\])")  # what reStructuredText would take for emphasis, substitution or a link


def literal_backticks(lines: list[str]) -> None:
    """Double the backticks of `code` and escape the rest, in place."""
    lines[:] = [_literal(line) for line in lines]


def _literal(line: str) -> str:
    parts = CODE.split(line)  # text and code in turn
    return "".join(f"``{part}``" if number % 2 else MARKUP.sub(r"\\\1", part) for number, part in enumerate(parts))
