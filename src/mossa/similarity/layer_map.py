"""CKA of every layer of one model with every layer of another, or of any matrices with any others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.hsic import unbiased
from mossa.similarity.products import block_pairs, gram, product
from mossa.similarity.threads import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

STRIP = 32  # rows of the Gram matrices of all layers at once
BLOCK_VALUES = 2**27  # numbers held at once in the Gram blocks of all layers: 512 MB in float32
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def layer_map(Y: arrays.Array, Z: arrays.Array, debiased: bool = False) -> arrays.Array:
    """Return the linear CKA of every layer of Y [n, L, d] with every layer of Z [n, L', d'], [L, L'], float64.

    No standard errors: use `compare` for layers that matter. Raises SimilarityError for arrays that cannot be compared,
    and for a layer that does not vary.
    """
    sides = {"Y": arrays.as_layers(Y, "Y"), "Z": arrays.as_layers(Z, "Z")}
    arrays.check_alike(sides["Z"][:, :1], sides["Y"][:, :1], "Y")
    layers = [list(side.unbind(1)) for side in sides.values()]
    values, reasons = pairwise(*layers, debiased=debiased)
    for (name, layer), reason in zip(((n, l) for n in sides for l in range(sides[n].shape[1])), reasons, strict=True):
        if reason is not None:
            arrays.finite_rows({name: sides[name][:, layer]}, layer + 1, "error")
            raise SimilarityError(f"layer {layer + 1} of {name}: {reason}; leave it out.")
    return arrays.like(Y, values)


def pairwise(
    left: Sequence[Tensor], right: Sequence[Tensor] | None = None, *, debiased: bool = True
) -> tuple[Matrix, list[str | None]]:
    """Return the linear CKA of every matrix [n, d] on the left with every one on the right, [l, r], in float64.

    `right` None: with each other. Undefined values are NaN; the second result says why, for each matrix on the left and
    then on the right. The Gram matrix of each is computed once, and all their inner products are one matrix product.
    """
    import torch

    matrices = [*left, *(right or ())]
    split, n = len(left), len(left[0])
    other = slice(split, None) if right is not None else slice(0, split)
    norms = torch.zeros((len(matrices), n), dtype=torch.float64, device=left[0].device)
    cross = norms.new_zeros((split, len(norms[other])))
    own = norms.new_zeros(len(matrices))
    reasons: list[str | None] = []
    for rows, columns in block_pairs(n, max(1, math.isqrt(BLOCK_VALUES // len(matrices)))):
        found = side_by_side(partial(_gram, rows, columns), matrices, norms.device)
        grams, reasons = [K for K, _ in found], [reason for _, reason in found]
        twice = 1 if rows == columns else 2
        if rows == columns:
            norms[:, rows] = torch.stack([K.diagonal() for K in grams]).double()
        strips = range(0, len(grams[0]), STRIP)
        for between, within in side_by_side(partial(_strip, grams, split, other), strips, norms.device):
            cross += twice * between
            own += twice * within
    if debiased:
        traces = norms.sum(1)
        diagonal, both = norms[:split] @ norms[other].T, torch.outer(traces[:split], traces[other])
        cross = unbiased(n, cross, diagonal, both)
        own = unbiased(n, own, torch.linalg.vecdot(norms, norms), traces**2)
    for i in np.flatnonzero((own <= 0).cpu().numpy()):
        reasons[i] = reasons[i] or f"the debiased HSIC with itself is not positive: n = {n} prompts are too few"
    own = torch.where(own > 0, own, math.nan)
    return (cross / torch.outer(own[:split].sqrt(), own[other].sqrt())).cpu().numpy(), reasons


def _gram(rows: slice, columns: slice, X: Tensor) -> tuple[Tensor, str | None]:
    """Return a block of the Gram matrix, or zeros and the reason; centred anew each time, which saves the memory."""
    try:
        return gram(centre(X, Groups.of(None, len(X))), rows, columns), None
    except SimilarityError as undefined:
        return X.new_zeros((rows.stop - rows.start, columns.stop - columns.start)), str(undefined)


def _strip(grams: Sequence[Tensor], split: int, other: slice, start: int) -> tuple[Tensor, Tensor]:
    """Return the inner products of a strip of all layers, while it stays in the cache: between sides, and own."""
    import torch

    flat = torch.stack([K[start : start + STRIP] for K in grams]).flatten(1)
    return product(flat[:split], flat[other].T), torch.linalg.vector_norm(flat, dim=1).double() ** 2
