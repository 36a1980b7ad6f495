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
    """A number and, where they exist, its values without each of k units; `reason` says why something is missing.

    Units are prompts, or groups of them where groups are the sample. `strata` are the groups that the units were
    sampled within, None for one; `within` says that each stratum's own mean was removed from the representations.
    `middle` is the value with every stratum at its share, where the interval belongs if that is not the value.
    """

    value: float | None
    left_out: Vector | None = None
    reason: str | None = None
    strata: Groups | None = None
    within: bool = False
    middle: float | None = None


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
    middle = None if one.middle is None or other.middle is None else one.middle - other.middle
    return Value(one.value - other.value, one.left_out - other.left_out, None, one.strata, one.within, middle)


def jackknife(found: Value) -> tuple[float, int]:
    """Return the standard error and its degrees of freedom from k leave-one-out values θ.

    sqrt(Σ_g (m_g - 1) / m_g Σ_{i in g} (θ_i - mean_g θ)²) over strata of m_g units (Shao and Tu 1995, chapter 6): with
    one stratum the usual jackknife. Where each stratum's own mean was removed, a stratum of m holds m - 1 independent
    deviations and this sum sees only m - 2 of them (exact for normal data), so it is scaled by (m - 1) / (m - 2). Of
    two prompts both deviations are the same but for the sign, so the sum sees nothing: leaving out either one leaves
    out the pair, and the pair's difference from the value of all takes its place.
    """
    assert found.left_out is not None and found.value is not None
    theta, k = found.left_out, len(found.left_out)
    strata = found.strata or Groups.of(None, k)
    sizes = strata.sizes.astype(np.float64)
    means = np.bincount(strata.labels, weights=theta, minlength=len(strata)) / sizes
    squares = np.bincount(strata.labels, weights=(theta - means[strata.labels]) ** 2, minlength=len(strata))
    variances = (sizes - 1) / sizes * squares
    if not found.within or len(strata) == 1:
        return math.sqrt(variances.sum()), k - len(strata)
    variances *= np.divide(sizes - 1, sizes - 2, out=np.ones_like(sizes), where=sizes > 2)
    pairs = sizes == 2
    variances[pairs] = (means[pairs] - found.value) ** 2
    return math.sqrt(variances.sum()), int(np.where(pairs, 1, np.maximum(sizes - 2, 0)).sum())


def estimate(found: Value, confidence: float) -> Estimate:
    """Return the value with its jackknife error and Student's interval, around `middle` and with the value in it."""
    if found.value is None or found.left_out is None:
        return Estimate(found.value, reason=found.reason)
    from scipy.special import stdtrit

    error, freedom = jackknife(found)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    middle = found.value if found.middle is None else found.middle
    return Estimate(found.value, error, min(middle - half, found.value), max(middle + half, found.value))
