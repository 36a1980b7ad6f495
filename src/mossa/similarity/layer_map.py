"""CKA of every layer of one model with every layer of another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import gram_blocks

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
    features = _features(sides["Y"], "Y") + _features(sides["Z"], "Z")
    n, split = len(features[0]), sides["Y"].shape[1]
    norms = torch.stack([torch.linalg.vecdot(X, X) for X in features]).double()
    cross = norms.new_zeros((split, len(features) - split))
    own = norms.new_zeros(len(features))
    for rows, columns, grams in gram_blocks(features, block=max(1, math.isqrt(BLOCK_VALUES // len(features)))):
        twice = 1 if rows == columns else 2
        for strip in range(0, len(grams[0]), STRIP):  # a strip of all layers stays in the cache
            flat = torch.stack([K[strip : strip + STRIP] for K in grams]).flatten(1)
            cross += twice * (flat[:split] @ flat[split:].T)
            own += twice * torch.linalg.vecdot(flat, flat)
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


def _features(side: Tensor, name: str) -> list[Tensor]:
    everyone = Groups.of(None, len(side))
    found: list[Tensor] = []
    for layer in range(side.shape[1]):
        arrays.finite_rows({name: side[:, layer]}, layer + 1, "error")
        try:
            found.append(centre(side[:, layer], everyone))
        except SimilarityError as undefined:
            raise SimilarityError(f"layer {layer + 1} of {name}: {undefined}; leave this layer out.") from undefined
    return found
