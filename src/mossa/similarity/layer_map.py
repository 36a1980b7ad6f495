"""CKA of every layer of one model with every layer of another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import block_pairs, gram, product
from mossa.similarity.threads import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

STRIP = 32  # rows of the Gram matrices of all layers at once
BLOCK_VALUES = 2**27  # numbers held at once in the Gram blocks of all layers: 512 MB in float32


def layer_map(Y: arrays.Array, Z: arrays.Array, debiased: bool = False) -> arrays.Array:
    """Return the linear CKA of every layer of Y [n, L, d] with every layer of Z [n, L', d'], [L, L'], float64.

    The Gram matrix of each layer is computed once, and all their inner products are one matrix product. No standard
    errors: use `compare` for layers that matter. Raises SimilarityError for arrays that cannot be compared, and for a
    layer that does not vary.
    """
    import torch

    sides = arrays.as_sides({"Y": Y, "Z": Z})
    arrays.check_alike(sides["Z"][:, :1], sides["Y"][:, :1], "Y")
    n, split, _ = sides["Y"].shape
    both = split + sides["Z"].shape[1]
    norms = torch.zeros((both, n), dtype=torch.float64, device=sides["Y"].device)
    cross = norms.new_zeros((split, both - split))
    own = norms.new_zeros(both)
    layers, where = _Layers(sides), norms.device
    for rows, columns in block_pairs(n, max(1, math.isqrt(BLOCK_VALUES // both))):
        grams = side_by_side(partial(_gram, layers, rows, columns), range(both), where)
        twice = 1 if rows == columns else 2
        if rows == columns:
            norms[:, rows] = torch.stack([K.diagonal() for K in grams]).double()
        strips = range(0, len(grams[0]), STRIP)
        for between, within in side_by_side(partial(_strip, grams, split), strips, where):
            cross += twice * between
            own += twice * within
    if debiased:
        factor = n / (n - 2)
        traces = norms.sum(1)
        cross -= factor * norms[:split] @ norms[split:].T
        cross += torch.outer(traces[:split], traces[split:]) / ((n - 1) * (n - 2))
        own += -factor * torch.linalg.vecdot(norms, norms) + traces**2 / ((n - 1) * (n - 2))
        if bool((own <= 0).any()):
            raise SimilarityError(f"the debiased HSIC of a layer with itself is not positive: n = {n} is too few.")
    values = cross / torch.outer(own[:split].sqrt(), own[split:].sqrt())
    return arrays.like(Y, values.cpu().numpy())


def _gram(layers: _Layers, rows: slice, columns: slice, layer: int) -> Tensor:
    return gram(layers[layer], rows, columns)


def _strip(grams: Sequence[Tensor], split: int, start: int) -> tuple[Tensor, Tensor]:
    """Return the inner products of a strip of all layers, while it stays in the cache: between sides, and own."""
    import torch

    flat = torch.stack([K[start : start + STRIP] for K in grams]).flatten(1)
    return product(flat[:split], flat[split:].T), torch.linalg.vector_norm(flat, dim=1).double() ** 2


class _Layers:
    """The centred features of all layers, [n, d] each, when they are asked for: all at once would double the memory."""

    def __init__(self, sides: Mapping[str, Tensor]) -> None:
        self.layers = [(name, layer, side[:, layer]) for name, side in sides.items() for layer in range(side.shape[1])]

    def __getitem__(self, index: int) -> Tensor:
        name, layer, X = self.layers[index]
        try:
            return centre(X, Groups.of(None, len(X)))
        except SimilarityError as undefined:
            arrays.finite_rows({name: X}, layer + 1, "error")
            raise SimilarityError(f"layer {layer + 1} of {name}: {undefined}; leave it out.") from undefined
