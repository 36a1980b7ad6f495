"""Standard errors and intervals from leave-one-out values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mossa.similarity.features import Groups

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty; `reason` says why what is None is missing."""

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def jackknife(left_out: Vector, groups: Groups) -> float:
    """Return the standard error from n leave-one-out values; groups are strata (Shao and Tu 1995, chapter 6).

    sqrt(Σ_g (n_g - 1)/n_g Σ_{i in g} (θ_i - mean_g θ)²): the usual jackknife for one group.
    """
    sizes = groups.sizes.astype(np.float64)
    means = np.bincount(groups.labels, weights=left_out, minlength=len(groups)) / sizes
    squares = (left_out - means[groups.labels]) ** 2
    return math.sqrt(float((squares * ((sizes - 1) / sizes)[groups.labels]).sum()))


def interval(value: float, left_out: Vector | None, groups: Groups, confidence: float) -> Estimate:
    """Return `value` with its jackknife standard error and the interval of Student's t with n - g degrees of freedom."""
    if left_out is None or not np.isfinite(left_out).all():
        return Estimate(value, reason="no standard error: leaving one prompt out leaves it undefined")
    from scipy.stats import t

    error = jackknife(left_out, groups)
    half = float(t.ppf((1 + confidence) / 2, len(left_out) - len(groups))) * error
    return Estimate(value, error, value - half, value + half)
