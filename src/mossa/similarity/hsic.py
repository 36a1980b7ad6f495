"""HSIC, plain and debiased, and its leave-one-out values, from sums per prompt.

With centred features, x_i those of prompt i, S = Σ x_i y_iᵀ and c = n / (n - 1), leaving prompt i out gives
S - c x_i y_iᵀ, so ‖S‖² (the plain HSIC) becomes ‖S‖² - 2c x_iᵀ S y_i + c² ‖x_i‖² ‖y_i‖²: exact, and no extra product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mossa.similarity.features import Groups

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class PairSums:
    """What is known per prompt of one pair of models, [n] each; `within` sums over the prompt's own group only."""

    products: Vector  # Σⱼ K_ij L_ij over all prompts
    within: Vector  # Σⱼ K_ij L_ij over the prompt's group
    left: Vector  # Σⱼ K_ij L_jj over the prompt's group
    right: Vector  # Σⱼ L_ij K_jj over the prompt's group
    left_norms: Vector  # K_ii
    right_norms: Vector  # L_ii
    stratum: Vector | None = None  # Σⱼ K_ij L_ij over the prompt's stratum, whose mean is not removed


def hsic(sums: PairSums, groups: Groups, *, debiased: bool) -> tuple[float, Vector]:
    """Return HSIC up to a factor that depends on n and the groups alone, and its n leave-one-out values.

    Plain: ‖S‖² with S the sum of the groups' scatter matrices (Gretton et al. 2005; the paper's tr(KᵀL)).
    Debiased: the products of different groups' scatter matrices are unbiased as they are; the square of each group's
    own is replaced by the unbiased estimate of Song et al. (2012), which needs 4 prompts; groups smaller than that
    count only against other groups. With one group this is Song's estimator times n (n - 3) (n - 1)² / (n (n - 3)).
    """
    k, l = sums.left_norms, sums.right_norms
    size = groups.sizes[groups.labels].astype(np.float64)
    c = np.divide(size, size - 1, out=np.zeros_like(size), where=size > 1)
    total = sums.products.sum()
    left_out = total - 2 * c * sums.products + c**2 * k * l
    if not debiased:
        return float(total), left_out

    def per_group(values: Vector) -> Vector:
        return np.bincount(groups.labels, weights=values, minlength=len(groups)).astype(np.float64)

    sizes = groups.sizes.astype(np.float64)
    own, diagonal = per_group(sums.within), per_group(k * l)
    left_trace, right_trace = per_group(k), per_group(l)
    correction = _correction(sizes, own, diagonal, left_trace, right_trace)

    e = np.divide(1.0, size - 1, out=np.zeros_like(size), where=size > 1)
    mine = groups.labels
    kl = k * l
    without = _correction(
        size - 1,
        own[mine] - 2 * c * sums.within + c**2 * kl,
        diagonal[mine]
        - kl
        + 2 * e * (sums.left + sums.right - 2 * kl)
        + e**2 * (left_trace[mine] * l + right_trace[mine] * k - 2 * kl)
        + 4 * e**2 * (sums.within - kl)
        - 3 * e**3 * kl,
        left_trace[mine] - c * k,
        right_trace[mine] - c * l,
    )
    value = total + correction.sum()
    return float(value), left_out + (correction.sum() - correction[mine]) + without


def stratified(sums: PairSums, strata: Groups) -> float:
    """Return what debiased HSIC lacks where each stratum has a fixed share of the prompts.

    Song's estimator is a mean over different prompts. A stratum of m prompts among n gives m (m - 1) of n (n - 1)
    pairs, fewer than its share of the population, (m / n)². This weighs them as they should be.
    """
    assert sums.stratum is not None
    n, sizes = len(sums.products), strata.sizes.astype(np.float64)
    diagonal = sums.left_norms * sums.right_norms
    inside = np.bincount(strata.labels, weights=sums.stratum - diagonal, minlength=len(strata)) / (sizes - 1)
    lacking = inside.sum() - (sums.products.sum() - diagonal.sum()) / (n - 1)
    return float((n - 1) ** 2 / (n * (n - 3)) * lacking)


def unbiased(n: Any, total: Any, diagonal: Any, traces: Any) -> Any:
    """Return the unbiased HSIC (Song et al. 2012, equation 5) times n (n - 3), from centred Gram matrices K and L.

    `total` is Σ K_ij L_ij, `diagonal` Σ K_ii L_ii and `traces` tr K tr L; numbers, or arrays or tensors of them.
    """
    return total - n / (n - 2) * diagonal + traces / ((n - 1) * (n - 2))


def _correction(n: Vector, own: Vector, diagonal: Vector, left_trace: Vector, right_trace: Vector) -> Vector:
    """Return what turns the square of a group's scatter matrix into its unbiased estimate; groups under 4 lose it."""
    m = np.maximum(n, 4)
    found = unbiased(m, own, diagonal, left_trace * right_trace)
    return np.where(n >= 4, (m - 1) ** 2 / (m * (m - 3)) * found, 0.0) - own
