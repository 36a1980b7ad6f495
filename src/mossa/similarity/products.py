"""The only expensive step: inner products of prompts, summed per prompt, in the cheaper of two spaces.

Centred features X [n, d] have the Gram matrix K = X Xᵀ. Everything CKA needs is Σⱼ K_ij L_ij for every prompt i
(its total is HSIC, its parts give the leave-one-out values), the norms K_ii, and Σⱼ K_ij L_jj.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.similarity.threads import side_by_side

if TYPE_CHECKING:
    from torch import Tensor, device

BLOCK = 1024  # prompts per side of a block of a Gram matrix: 4 MB in float32, so that the cache holds a few
STRIP = 256  # rows of the upper triangle of XᵀX at once


@dataclass(frozen=True)
class RowProducts:
    """Sums per prompt for p models and q pairs of them, float64."""

    norms: Tensor  # [p, n]      K_ii
    products: Tensor  # [q, n]      Σⱼ K_ij L_ij for each pair
    crosses: Tensor  # [p, p, n]   Σⱼ K_ij L_jj for any two models

    @classmethod
    def joined(cls, parts: Sequence[RowProducts], rows: Sequence[Any]) -> RowProducts:
        """Put together sums that were taken over each group of prompts alone; `rows` are the groups' row numbers."""
        import torch

        order = np.argsort(np.concatenate(rows), kind="stable")
        return cls(
            torch.cat([part.norms for part in parts], dim=-1)[..., order],
            torch.cat([part.products for part in parts], dim=-1)[..., order],
            torch.cat([part.crosses for part in parts], dim=-1)[..., order],
        )


def cheaper_in_features(n: int, d: int, models: int, *, crosses: int | None = None) -> bool:
    """Say whether d x d products cost less than n x n ones for one control against m `models`.

    Prompt space needs 1 + m symmetric products, n²d each. Feature space needs 1 + m symmetric ones and m full ones
    (nd² and 2nd²; or `crosses` full ones), and as much again for the sums per prompt, which come free in prompt space.
    So feature space wins only where 2d (1 + 3m) < n (1 + m), not where d < n.
    """
    full = models if crosses is None else crosses
    return 2 * d * (1 + models + 2 * full) < n * (1 + models)


def product(X: Tensor, Y: Tensor) -> Tensor:
    """Return X Y; on the CPU by NumPy, which sees X Xᵀ and computes one half (BLAS syrk)."""
    import torch

    return X @ Y if X.device.type != "cpu" else torch.from_numpy(X.numpy() @ Y.numpy())


def self_product(X: Tensor) -> Tensor:
    """Return X Xᵀ."""
    return product(X, X.T)


def row_products(features: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> RowProducts:
    """Return the sums per prompt of centred features, p matrices [n, d], for `pairs` of them."""
    import torch

    norms = torch.stack([torch.linalg.vector_norm(X, dim=1) ** 2 for X in features])
    width = max(X.shape[1] for X in features)
    full = sum(p != q for p, q in pairs)
    fewer = cheaper_in_features(norms.shape[1], width, len(features) - 1, crosses=full)
    products, crosses = (_in_features if fewer else _in_prompts)(features, pairs, norms)
    return RowProducts(norms.double(), products, crosses)


def block_pairs(n: int, block: int) -> list[tuple[slice, slice]]:
    """Return rows and columns of the blocks of an n x n Gram matrix: its upper triangle, diagonal blocks whole."""
    slices = [slice(start, min(start + block, n)) for start in range(0, n, block)]
    return [(rows, columns) for i, rows in enumerate(slices) for columns in slices[i:]]


def gram(X: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return a block of X Xᵀ."""
    return self_product(X[rows]) if rows == columns else product(X[rows], X[columns].T)


def _in_prompts(features: Sequence[Tensor], pairs: Sequence[tuple[int, int]], norms: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σⱼ K_ij L_ij, [q, n], and Σⱼ K_ij L_jj, [p, p, n], from blocks of the Gram matrices."""
    import torch

    models, n = norms.shape
    products = norms.new_zeros((len(pairs), n), dtype=torch.float64)
    crosses = norms.new_zeros((models, models, n), dtype=torch.float64)
    blocks = block_pairs(n, _block(norms.device))
    found = side_by_side(partial(_block_sums, features, pairs, norms), blocks, norms.device)
    for (rows, columns), (by_row, by_column) in zip(blocks, found, strict=True):
        products[:, rows] += by_row[0]
        crosses[..., rows] += by_row[1]
        if rows != columns:
            products[:, columns] += by_column[0]
            crosses[..., columns] += by_column[1]
    return products, crosses


def _block(where: device) -> int:
    """Return the prompts per side of a block; a GPU has no such cache, and each operation must be sent to it."""
    return BLOCK if where.type == "cpu" else 4 * BLOCK


def _block_sums(
    features: Sequence[Tensor], pairs: Sequence[tuple[int, int]], norms: Tensor, block: tuple[slice, slice]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what a block adds to both sums of its rows and, off the diagonal, of its columns, which mirror it."""
    import torch

    rows, columns = block
    grams = [gram(X, rows, columns) for X in features]
    height, width = grams[0].shape

    def zeros(size: int) -> tuple[Tensor, Tensor]:
        new = norms.new_zeros((len(pairs) + len(norms) ** 2, size), dtype=torch.float64)
        return new[: len(pairs)], new[len(pairs) :].view(len(norms), len(norms), size)

    by_row, by_column = zeros(height), zeros(width)
    strip = STRIP if norms.device.type == "cpu" else height
    for start in range(0, height, strip):  # a strip of every model stays in the cache
        some = slice(start, min(start + strip, height))
        there = slice(rows.start + some.start, rows.start + some.stop)
        here = [K[some] for K in grams]
        for sums, mirrored, (p, q) in zip(by_row[0], by_column[0], pairs, strict=True):
            sums[some] = torch.linalg.vecdot(here[p], here[q])
            if rows != columns:
                mirrored += torch.linalg.vecdot(here[p], here[q], dim=0)
        for sums, mirrored, K in zip(by_row[1], by_column[1], here, strict=True):
            sums[:, some] = (norms[:, columns] @ K.T).double()
            if rows != columns:
                mirrored += norms[:, there] @ K
    return by_row, by_column


def _in_features(features: Sequence[Tensor], pairs: Sequence[tuple[int, int]], norms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same from xᵢᵀ (XᵀY) yᵢ; a model with itself needs only the upper triangle of XᵀX."""
    import torch

    products = torch.stack(
        [
            quadratic_forms(features[p], self_product(features[p].T))
            if p == q
            else torch.linalg.vecdot(product(features[p], product(features[p].T, features[q])), features[q]).double()
            for p, q in pairs
        ]
    )
    crosses = torch.stack([(X @ (X.T @ norms.T)).T.double() for X in features])
    return products, crosses


def quadratic_forms(X: Tensor, M: Tensor) -> Tensor:
    """Return xᵢᵀ M xᵢ for the n rows of X [n, d] and symmetric M [d, d], of which only the upper triangle is used."""
    import torch

    n, d = X.shape
    forms = X.new_zeros(n, dtype=torch.float64)
    for start in range(0, d, STRIP):
        stop = min(start + STRIP, d)
        weighted = product(X[:, start:stop], M[start:stop, start:])
        weighted[:, stop - start :] *= 2  # the lower triangle is the upper one
        forms += torch.linalg.vecdot(weighted, X[:, start:])
    return forms
