"""Standard errors and intervals from leave-one-out values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mossa.similarity.features import Groups

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Value:
    """A number and, where they exist, its n leave-one-out values; `reason` says why something is missing."""

    value: float | None
    left_out: Vector | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and interval; `reason` says why something is missing."""

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def minus(one: Value, other: Value, name: str) -> Value:
    """Return the difference of two values over the same prompts; `name` is the other's, for the reason."""
    if one.value is None:
        return Value(None, reason=one.reason)
    if other.value is None:
        return Value(None, reason=other.reason if str(other.reason).startswith(name) else f"{name}: {other.reason}")
    if one.left_out is None or other.left_out is None:
        return Value(one.value - other.value, reason=one.reason or other.reason)
    return Value(one.value - other.value, one.left_out - other.left_out)


def jackknife(left_out: Vector, groups: Groups) -> float:
    """Return the standard error from n leave-one-out values, groups being strata (Shao and Tu 1995, chapter 6).

    sqrt(Σ_g (n_g - 1) / n_g Σ_{i in g} (θ_i - mean_g θ)²): with one group, the usual jackknife.
    """
    sizes = groups.sizes.astype(np.float64)
    means = np.bincount(groups.labels, weights=left_out, minlength=len(groups)) / sizes
    squares = (left_out - means[groups.labels]) ** 2
    return math.sqrt(float((squares * ((sizes - 1) / sizes)[groups.labels]).sum()))


def estimate(found: Value, groups: Groups, confidence: float) -> Estimate:
    """Return the value with its jackknife standard error and Student's interval with n - g degrees of freedom."""
    if found.value is None or found.left_out is None:
        return Estimate(found.value, reason=found.reason)
    from scipy.special import stdtrit

    error = jackknife(found.left_out, groups)
    half = float(stdtrit(len(groups.labels) - len(groups), (1 + confidence) / 2)) * error
    return Estimate(found.value, error, found.value - half, found.value + half)
