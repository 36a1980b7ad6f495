"""Bootstrap and permutations of one pair, as matrix products over its Gram matrices."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import quadratic_forms, self_product
from mossa.similarity.repeats import warn_of_repeats
from mossa.similarity.threads import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

Vector = np.ndarray[Any, np.dtype[np.float64]]


def _grams(Y: arrays.Array, Z: arrays.Array, groups: Groups | None = None) -> tuple[Tensor, Tensor]:
    """Return the centred Gram matrices [n, n] of one layer, [n, d] each."""
    sides = arrays.as_sides({"Y": Y, "Z": Z})
    arrays.check_alike(sides["Z"], sides["Y"], "Y")
    n, layers, d = sides["Y"].shape
    if layers != 1:
        raise SimilarityError(f"Y has L = {layers} layers (n = {n}, d = {d}); resample one layer at a time, [n, d].")
    warn_of_repeats(sides)
    here = {name: X[:, 0] for name, X in sides.items()}
    arrays.finite_rows(here, 1, "error")
    kept = groups or Groups.of(None, n)
    left, right = side_by_side(lambda X: self_product(centre(X, kept)), list(here.values()), sides["Y"].device)
    return left, right


def bootstrap(
    Y: arrays.Array, Z: arrays.Array, *, debiased: bool = True, resamples: int = 1000, seed: int = 0
) -> Vector:
    """Return the linear CKA of `resamples` draws of n prompts with replacement, in pairs, [resamples].

    With w_i the times prompt i was drawn, each HSIC is Σ w_i w_j K_ij L_ij over different prompts: a prompt drawn twice
    is no pair with itself, since pairs of a prompt with its own copy make even unrelated sides look alike. K and L stay
    centred as for all prompts (debiased: U-centred, Szekely and Rizzo 2014), which changes a draw by the order of 1/n,
    so that 1,000 draws are three matrix products. Raises SimilarityError for arrays that cannot be compared, and if a
    draw has no CKA (too few different prompts).
    """
    import torch

    K, L = (_u_centred(A) if debiased else A for A in _grams(Y, Z))
    n = len(K)
    draws = torch.from_numpy(np.random.default_rng(seed).integers(n, size=(resamples, n))).to(K.device)
    w = K.new_zeros((resamples, n)).scatter_add_(1, draws, K.new_ones((resamples, n)))
    pairs = [(K, L), (K, K), (L, L)]
    cross, one, other = side_by_side(lambda pair: _weighted(pair[0] * pair[1], w), pairs, K.device)
    undefined = int(((one <= 0) | (other <= 0)).sum())
    if undefined:
        raise SimilarityError(f"{undefined} of {resamples} draws have no CKA: n = {n} prompts are too few to resample.")
    return (cross / (one * other).sqrt()).cpu().numpy()


def _u_centred(K: Tensor) -> Tensor:
    """Return centred K with what makes HSIC unbiased: zero off-diagonal row sums and no diagonal."""
    n = len(K)
    norms = K.diagonal() / (n - 2)
    return (K + norms[:, None] + norms - norms.sum() / (n - 1)).fill_diagonal_(0)


def _weighted(M: Tensor, w: Tensor) -> Tensor:
    """Return Σ_ij E[w_i w_j]⁻¹ w_i w_j M_ij over different prompts plus Σ_i w_i M_ii, for each draw of w [b, n]."""
    n, diagonal = len(M), M.diagonal()
    different = quadratic_forms(w, M) - (w**2 @ diagonal).double()
    return different * n / (n - 1) + (w @ diagonal).double()


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
    orders = np.tile(np.arange(len(K)), (permutations, 1))
    for order in orders:
        for rows in sorted_groups.rows():
            order[rows] = random.permutation(rows)

    def permuted(order: np.ndarray[Any, np.dtype[np.int64]]) -> float:
        index = torch.from_numpy(order).to(K.device)
        moved = L.index_select(0, index).index_select(1, index)
        return float(torch.linalg.vecdot(K, moved).double().sum()) / size

    null = np.array(side_by_side(permuted, list(orders), K.device))
    return PermutationTest(value, null, (1 + int((null >= value).sum())) / (1 + permutations))
