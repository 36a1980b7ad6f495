"""Bootstrap and permutations of one pair, as matrix products over its Gram matrices."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import self_product

if TYPE_CHECKING:
    from torch import Tensor

Vector = np.ndarray[Any, np.dtype[np.float64]]


def _grams(Y: arrays.Array, Z: arrays.Array, groups: Groups | None = None) -> tuple[Tensor, Tensor]:
    """Return the centred Gram matrices [n, n] of one layer, [n, d] each."""
    sides = {"Y": arrays.as_layers(Y, "Y"), "Z": arrays.as_layers(Z, "Z")}
    arrays.check_alike(sides["Z"], sides["Y"], "Y")
    n, layers, d = sides["Y"].shape
    if layers != 1:
        raise SimilarityError(f"Y has L = {layers} layers (n = {n}, d = {d}); resample one layer at a time, [n, d].")
    here = {name: X[:, 0] for name, X in sides.items()}
    arrays.finite_rows(here, 1, "error")
    left, right = (self_product(centre(X, groups or Groups.of(None, n))) for X in here.values())
    return left, right


def bootstrap(
    Y: arrays.Array, Z: arrays.Array, *, debiased: bool = True, resamples: int = 1000, seed: int = 0
) -> Vector:
    """Return the linear CKA of `resamples` draws of n prompts with replacement, in pairs, [resamples].

    A prompt drawn twice is no pair with itself: debiased, every sum runs over different prompts only, each weighted by
    how often it was drawn, since pairs of a prompt with its own copy make even unrelated sides look alike. The plain
    value counts them, as plain CKA does, and is lifted by that. Raises SimilarityError for arrays that cannot be
    compared, and if a draw has no CKA (too few different prompts).
    """
    import torch

    K, L = _grams(Y, Z)
    n = len(K)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    w = torch.from_numpy(draws).to(K)
    hsic = _debiased if debiased else _plain
    cross, one, other = hsic(w, K, L)
    undefined = int(((one <= 0) | (other <= 0)).sum())
    if undefined:
        raise SimilarityError(f"{undefined} of {resamples} draws have no CKA: n = {n} prompts are too few to resample.")
    return (cross / (one * other).sqrt()).cpu().numpy()


def _plain(w: Tensor, K: Tensor, L: Tensor) -> list[Tensor]:
    """Return HSIC of (K, L), (K, K) and (L, L) for weights w [b, n]: Σ w_i w_j of the re-centred matrices."""
    n = w.shape[1]
    grams = (K, L)
    sums = [w @ A for A in grams]
    found: list[Tensor] = []
    for p, q in ((0, 1), (0, 0), (1, 1)):
        a, b = sums[p], sums[q]
        every = _sum(w @ (grams[p] * grams[q]) * w)
        found.append(every - 2 / n * _sum(w * a * b) + _sum(w * a) * _sum(w * b) / n**2)
    return found


def _debiased(w: Tensor, K: Tensor, L: Tensor) -> list[Tensor]:
    """Return the same as sums over different prompts (the U-statistic of Song et al. 2012, weighted)."""
    import torch

    off = [A - torch.diag(A.diagonal()) for A in (K, L)]
    s1, s2, s3, s4 = (_sum(w**power) for power in (1, 2, 3, 4))
    pairs = s1**2 - s2
    triples = s1**3 - 3 * s1 * s2 + 2 * s3
    quadruples = s1**4 - 6 * s1**2 * s2 + 3 * s2**2 + 8 * s1 * s3 - 6 * s4
    sums = [w @ A for A in off]
    found: list[Tensor] = []
    for p, q in ((0, 1), (0, 0), (1, 1)):
        a, b = sums[p], sums[q]
        once, squared = (torch.cat([w, w**2]) @ (off[p] * off[q])).chunk(2)
        two = _sum(once * w)
        three = _sum(w * a * b) - _sum(once * w**2)
        four = _sum(w * a) * _sum(w * b) - 4 * _sum(w**2 * a * b) + 2 * _sum(squared * w**2)
        found.append(two / pairs - 2 * three / triples + four / quadruples)
    return found


def _sum(values: Tensor) -> Tensor:
    return values.double().sum(1)


@dataclass(frozen=True)
class PermutationTest:
    """A value, the values of permuted prompts and p, the share of them (the value included) at least as large."""

    value: float
    null: Vector
    p: float


def permutation_test(
    Y: arrays.Array,
    Z: arrays.Array,
    *,
    groups: Sequence[Hashable] | None = None,
    permutations: int = 1000,
    seed: int = 0,
) -> PermutationTest:
    """Test whether the prompts of Y [n, d] and Z [n, d] belong together: plain linear CKA under permutation.

    With `groups` each group's mean is removed and prompts are permuted within their group. Permutation leaves HSIC of
    a side with itself alone, so each costs one pass over a Gram matrix.
    """
    import torch

    sorted_groups = Groups.of(groups, len(Y))
    K, L = _grams(Y, Z, sorted_groups)
    size = float(torch.linalg.vector_norm(K) * torch.linalg.vector_norm(L))
    value = float(torch.linalg.vecdot(K, L).double().sum()) / size
    random = np.random.default_rng(seed)
    null = np.empty(permutations)
    order = np.arange(len(K))
    for draw in range(permutations):
        for rows in sorted_groups.rows():
            order[rows] = random.permutation(rows)
        index = torch.from_numpy(order).to(K.device)
        null[draw] = float(torch.linalg.vecdot(K, L[index][:, index]).double().sum()) / size
    return PermutationTest(value, null, (1 + int((null >= value).sum())) / (1 + permutations))
