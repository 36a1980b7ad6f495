"""Numbers with their standard error over prompts, and the rows that hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
COLUMNS = ["layer", "reading", "value", "standard_error", "low", "high", "n", "reason"]
FEWEST = 4  # prompts that an interval is taken over
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class PlaceValue:
    """A number, its standard error over prompts and its 95 % interval (Student's, n - 1 degrees of freedom).

    The last three are None where the prompts are too few for them.
    """

    value: float
    standard_error: float | None
    low: float | None
    high: float | None


def ratio(numerators: Floats, denominators: Floats, extra_variance: float = 0.0) -> PlaceValue:
    """Return Σ numerators / Σ denominators over n prompts, with the linearised standard error of a ratio.

    Cochran (1977), chapter 6. `extra_variance` is added to that over prompts.
    """
    n, total = len(numerators), denominators.sum()
    value = numerators.sum() / total
    left = numerators - value * denominators
    error = math.sqrt(n / (n - 1) * float(left @ left) / total**2 + extra_variance)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return PlaceValue(float(value), error, float(value) - half, float(value) + half)


def norm_ratio(change: Floats, spread: Floats) -> PlaceValue:
    """Return sqrt(Σ change² / Σ spread²) of the norms `[n]` of rows; the standard error is that of the ratio inside."""
    inside = ratio(change**2, spread**2)
    value = math.sqrt(inside.value)
    error = (inside.standard_error or 0.0) / (2 * value) if value else 0.0
    half = float(stdtrit(len(change) - 1, (1 + CONFIDENCE) / 2)) * error
    return PlaceValue(value, error, value - half, value + half)


def row(layer: int, reading: str, found: PlaceValue | None, n: int, reason: str | None = None) -> dict[str, Any]:
    """Return a row of the table; without an estimate its numbers are null."""
    numbers = {name: getattr(found, name, None) for name in ("value", "standard_error", "low", "high")}
    return {"layer": layer, "reading": reading, **numbers, "n": n, "reason": reason}


def nothing(layer: int, reading: str, n: int) -> dict[str, Any]:
    """Return the row of a layer without an update: exactly 0."""
    return row(layer, reading, PlaceValue(0.0, 0.0, 0.0, 0.0), n, "no update at this layer")


def undefined(layers: Sequence[int], readings: Sequence[str], n: int, reason: str) -> list[dict[str, Any]]:
    """Return rows without values, all for one reason."""
    return [row(layer, reading, None, n, reason) for reading in readings for layer in layers]
