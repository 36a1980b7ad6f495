"""Flesch-Kincaid grade and Coleman-Liau index, offline."""

from __future__ import annotations

from collections.abc import Iterable


def readability(prompts: Iterable[str]) -> tuple[float, float]:
    """Return (Flesch-Kincaid grade, Coleman-Liau index) of all `prompts` read as one text."""
    return (float("nan"), float("nan"))
