"""CKA of every layer of one model with every layer of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import gram_blocks, product

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

    sides = {"Y": arrays.as_layers(Y, "Y"), "Z": arrays.as_layers(Z, "Z")}
    arrays.check_alike(sides["Z"][:, :1], sides["Y"][:, :1], "Y")
    n, split, _ = sides["Y"].shape
    both = split + sides["Z"].shape[1]
    norms = torch.zeros((both, n), dtype=torch.float64, device=sides["Y"].device)
    cross = norms.new_zeros((split, both - split))
    own = norms.new_zeros(both)
    for rows, columns, grams in gram_blocks(_Layers(sides), n, block=max(1, math.isqrt(BLOCK_VALUES // both))):
        twice = 1 if rows == columns else 2
        if rows == columns:
            norms[:, rows] = torch.stack([K.diagonal() for K in grams]).double()
        for strip in range(0, len(grams[0]), STRIP):  # a strip of all layers stays in the cache
            flat = torch.stack([K[strip : strip + STRIP] for K in grams]).flatten(1)
            cross += twice * product(flat[:split], flat[split:].T)
            own += twice * torch.linalg.vector_norm(flat, dim=1).double() ** 2
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


class _Layers:
    """The centred features of all layers, [n, d] each, one at a time: all at once would double the memory."""

    def __init__(self, sides: Mapping[str, Tensor]) -> None:
        self.sides = sides

    def __iter__(self) -> Iterator[Tensor]:
        for name, side in self.sides.items():
            everyone = Groups.of(None, len(side))
            for layer in range(side.shape[1]):
                try:
                    yield centre(side[:, layer], everyone)
                except SimilarityError as undefined:
                    arrays.finite_rows({name: side[:, layer]}, layer + 1, "error")
                    raise SimilarityError(f"layer {layer + 1} of {name}: {undefined}; leave it out.") from undefined
