"""Permutations of the prompts of one side: the similarity reached by chance, and what exceeds it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.similarity import arrays
from mossa.similarity.arrays import warn_of_repeats
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import self_product
from mossa.similarity.threads import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

Vector = np.ndarray[Any, np.dtype[np.float64]]


def _grams(Y: arrays.Array, Z: arrays.Array, groups: Groups | None = None) -> tuple[Tensor, Tensor]:
    """Return the centred Gram matrices of both sides at every layer, [L, n, n], with norm 1."""
    import torch

    sides = arrays.as_sides({"Y": Y, "Z": Z})
    arrays.check_alike(sides["Z"], sides["Y"], "Y")
    n, layers, _ = sides["Y"].shape
    kept = groups or Groups.of(None, n)

    def gram(place: tuple[str, int]) -> Tensor:
        name, layer = place
        X = sides[name][:, layer]
        arrays.finite_rows({name: X}, layer + 1, "error")
        K = self_product(centre(X, kept))
        return K / torch.linalg.vector_norm(K)

    grams = side_by_side(gram, [(name, layer) for name in sides for layer in range(layers)], sides["Y"].device)
    return torch.stack(grams[:layers]), torch.stack(grams[layers:])


@dataclass(frozen=True)
class PermutationTest:
    """Values per layer, [L] (one number for [n, d]), and those of permuted prompts, [permutations, L].

    The same permutation is used at all layers, so that their largest value has a null too.
    """

    value: Vector
    null: Vector

    @property
    def p(self) -> Vector:
        """The share of values, the real one included, that are at least as large as the real one, [L]."""
        return (1 + (self.null >= self.value).sum(0)) / (1 + len(self.null))

    def threshold(self, alpha: float = 0.05) -> Vector:
        """Return the critical value, [L]: a share of alpha of all values, the real one included, are above it."""
        every = np.sort(np.concatenate([self.value[None], self.null]), axis=0)
        return every[math.ceil((1 - alpha) * len(every)) - 1]

    def calibrated(self, alpha: float = 0.05) -> Vector:
        """Return (value - threshold) / (1 - threshold), 0 where that is negative, [L]."""
        threshold = self.threshold(alpha)
        return np.maximum(self.value - threshold, 0) / np.maximum(1 - threshold, 1e-12)

    def over_layers(self) -> PermutationTest:
        """Return the test of the largest value over layers, against the largest of each permutation."""
        return PermutationTest(np.asarray(self.value.max()), self.null.reshape(len(self.null), -1).max(1))


def permutation_test(
    Y: arrays.Array,
    Z: arrays.Array,
    *,
    groups: Sequence[Hashable] | None = None,
    permutations: int = 1000,
    seed: int = 0,
    every_pair: bool = False,
) -> PermutationTest:
    """Test whether the prompts of Y and Z, [n, d] or [n, L, d], belong together: plain linear CKA under permutation.

    With `groups` each group's mean is removed and prompts are permuted within their group. `every_pair`: L x L values,
    of every layer of Y with every layer of Z, instead of L. Permutation leaves HSIC of a side with itself alone, so
    each costs one pass over the Gram matrices, which are held for all layers: 2 L n² numbers. Calibration against the
    null follows Gröger et al. (2026, arXiv 2602.14486). Raises SimilarityError as `cka` does.
    """
    found = _test(Y, Z, Groups.of(groups, len(Y)), permutations, seed, every_pair)
    warn_of_repeats(arrays.as_sides({"Y": Y, "Z": Z}))
    return found


def _test(
    Y: arrays.Array, Z: arrays.Array, sorted_groups: Groups, permutations: int, seed: int = 0, every_pair: bool = False
) -> PermutationTest:
    left, right = _grams(Y, Z, sorted_groups)
    random = np.random.default_rng(seed)
    orders = np.tile(np.arange(left.shape[1]), (permutations + 1, 1))  # the first stays as it is
    for order in orders[1:]:
        for rows in sorted_groups.rows():
            order[rows] = random.permutation(rows)
    values = side_by_side(partial(_permuted, left, right, every_pair), list(orders), left.device)
    found = np.stack(values) if np.ndim(Y) == 3 else np.stack(values)[:, 0]
    return PermutationTest(found[0], found[1:])


def _permuted(left: Tensor, right: Tensor, every_pair: bool, order: np.ndarray[Any, np.dtype[np.int64]]) -> Vector:
    """Return the inner products of Gram matrices [L, n, n] with those of permuted prompts, [L] or [L²]."""
    import torch

    index = torch.from_numpy(order).to(right.device)
    moved = right.index_select(1, index).index_select(2, index)
    if every_pair:
        found = left.flatten(1) @ moved.flatten(1).T
    else:
        found = torch.linalg.vecdot(left, moved).double().sum(1)
    return found.double().flatten().cpu().numpy()


def calibrated(Y: Tensor, Z: Tensor) -> float:
    """Return how far plain linear CKA is above 95 % of 200 permutations, as a share of the distance from there to 1.

    Repeated prompts cannot be recognised in one layer; `compare` looks for them in all layers.
    """
    return float(_test(Y, Z, Groups.of(None, len(Y)), 200).calibrated())
