"""Linear CKA of representations that do not fit in memory, exactly, from minibatches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.hsic import unbiased

if TYPE_CHECKING:
    from torch import Tensor


def cka_of_batches(batches: Iterable[tuple[arrays.Array, arrays.Array]], debiased: bool = False) -> arrays.Array:
    """Return linear CKA per layer, [L], float64, of pairs of batches, [b, L, d] or [b, d], any b.

    The value is that of all prompts together, not a mean over batches (Nguyen et al. 2021 average HSIC, which depends
    on the batch size): the scatter matrices and the moments that debiasing needs are added up in float64 around the
    first batch's mean and centred at the end. Memory: three d x d matrices per layer. No standard errors, which need
    a second look at the prompts. Raises SimilarityError as `cka` does.
    """
    moments: list[_Moments] = []
    first: arrays.Array = None
    for number, (Y, Z) in enumerate(batches, 1):
        pair = (
            arrays.as_layers(Y, f"Y of batch {number}", fewest=1),
            arrays.as_layers(Z, f"Z of batch {number}", fewest=1),
        )
        arrays.check_alike(pair[1], pair[0], f"Y of batch {number}")
        if not moments:
            first = Y
            moments = [_Moments(pair[0][:, layer], pair[1][:, layer]) for layer in range(pair[0].shape[1])]
        for layer, moment in enumerate(moments):
            arrays.finite_rows({"Y": pair[0][:, layer], "Z": pair[1][:, layer]}, layer + 1, "error")
            moment.add(pair[0][:, layer], pair[1][:, layer])
    if not moments:
        raise SimilarityError("There are no batches; give at least one.")
    values = [moment.cka(debiased, layer) for layer, moment in enumerate(moments, 1)]
    return arrays.like(first, np.array(values if np.ndim(first) == 3 else values[0]))


class _Moments:
    """What one layer needs to know of all prompts so far, about a fixed pivot."""

    def __init__(self, Y: Tensor, Z: Tensor) -> None:
        self.pivots = [X.double().mean(0) for X in (Y, Z)]
        self.n = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, Y: Tensor, Z: Tensor) -> None:
        import torch

        X = [side.double() - pivot for side, pivot in zip((Y, Z), self.pivots, strict=True)]
        norms = [torch.linalg.vecdot(side, side) for side in X]
        self.n += len(Y)
        for p in (0, 1):
            self._count(f"sum{p}", X[p].sum(0))
            self._count(f"norms{p}", norms[p].sum())
        for p, q in ((0, 0), (0, 1), (1, 1)):
            self._count(f"scatter{p}{q}", X[p].T @ X[q])
            self._count(f"norms{p}{q}", norms[p] @ norms[q])
            self._count(f"left{p}{q}", norms[p] @ X[q])
            self._count(f"right{p}{q}", norms[q] @ X[p])

    def _count(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def cka(self, debiased: bool, layer: int) -> float:
        cross, one, other = (self._hsic(p, q, debiased) for p, q in ((0, 1), (0, 0), (1, 1)))
        if self.n < arrays.FEWEST or one <= 0 or other <= 0:
            raise SimilarityError(
                f"layer {layer}: linear CKA is undefined for n = {self.n} prompts: too few, or they do not vary."
            )
        return cross / (one * other) ** 0.5

    def _hsic(self, p: int, q: int, debiased: bool) -> float:
        """Return ‖S‖², or its unbiased estimate up to a factor, with S centred at the mean of all prompts."""
        import torch

        n, sums = self.n, self.sums
        x, y = sums[f"sum{p}"] / n, sums[f"sum{q}"] / n
        scatter = sums[f"scatter{p}{q}"]
        plain = float(torch.linalg.vector_norm(scatter - n * torch.outer(x, y)) ** 2)
        if not debiased:
            return plain
        a, b = (
            x @ x,
            y @ y,
        )  # ‖x_i - x‖² = ‖x_i‖² - 2 x_i·x + ‖x‖², and so the sum of its products with the other side's:
        diagonal = (
            sums[f"norms{p}{q}"]
            - 2 * sums[f"left{p}{q}"] @ y
            - 2 * sums[f"right{p}{q}"] @ x
            + sums[f"norms{p}"] * b
            + sums[f"norms{q}"] * a
            + 4 * x @ scatter @ y
            - 3 * n * a * b
        )
        traces = (sums[f"norms{p}"] - n * a) * (sums[f"norms{q}"] - n * b)
        return float(unbiased(n, plain, diagonal, traces))
