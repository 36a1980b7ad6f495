"""Text that shows as itself."""

from __future__ import annotations


class Text(str):
    """A text of several lines that a notebook shows as lines, and not as one quoted string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
