"""The only expensive step: inner products of prompts, summed per prompt, in whichever space is cheaper.

Centred features X [n, d] have the Gram matrix K = X Xᵀ. Everything CKA needs is Σⱼ K_ij L_ij for every prompt i
(its total is HSIC, its parts give the leave-one-out values), the norms K_ii, and Σⱼ K_ij L_jj.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

STRIP = 128  # rows of a symmetric product computed at once: small enough to skip most of the lower triangle


@dataclass(frozen=True)
class RowProducts:
    """Sums per prompt for p models and q pairs of them, float64; `left` and `right` are the models of each pair."""

    pairs: tuple[tuple[int, int], ...]
    norms: Tensor  # [p, n]   K_ii
    products: Tensor  # [q, n]   Σⱼ K_ij L_ij
    left: Tensor  # [q, n]   Σⱼ K_ij L_jj
    right: Tensor  # [q, n]   Σⱼ L_ij K_jj

    @classmethod
    def joined(cls, parts: Sequence[RowProducts], rows: Sequence[Any]) -> RowProducts:
        """Put together sums that were taken over each group of prompts alone; `rows` are the groups' row numbers."""
        import torch

        order = np.argsort(np.concatenate(rows), kind="stable")
        sums = [
            torch.cat([getattr(part, name) for part in parts], dim=1)[:, order]
            for name in ("norms", "products", "left", "right")
        ]
        return cls(parts[0].pairs, *sums)


def cheaper_in_features(n: int, d: int, models: int, *, per_prompt: bool = True) -> bool:
    """Say whether d x d products cost less than n x n ones for one control against `models` others.

    Prompt space needs 1 + m symmetric products, n²d each. Feature space needs 1 + m symmetric ones and m full ones
    (nd² and 2nd²), so it wins only where d (1 + 3m) < n (1 + m), not where d < n. Sums per prompt need a second
    product of the same size there, and come free in prompt space.
    """
    return d * (1 + 3 * models) * (2 if per_prompt else 1) < n * (1 + models)


def row_products(features: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> RowProducts:
    """Return the sums per prompt of centred features, p matrices [n, d], for `pairs` of them."""
    import torch

    norms = torch.stack([torch.linalg.vecdot(X, X) for X in features]).double()
    width = max(X.shape[1] for X in features)
    in_features = cheaper_in_features(features[0].shape[0], width, len(features) - 1)
    if in_features:
        products = _in_features(features, pairs)
    else:
        products = _in_prompts(features, pairs)
    left = torch.stack([_times(features[p], norms[q]) for p, q in pairs])
    right = torch.stack([_times(features[q], norms[p]) for p, q in pairs])
    return RowProducts(tuple(pairs), norms, products, left, right)


def _times(X: Tensor, vector: Tensor) -> Tensor:
    """Return X Xᵀ v without the Gram matrix."""
    return (X @ (X.T @ vector.to(X.dtype))).double()


def _in_prompts(features: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return Σⱼ K_ij L_ij, [q, n], from strips of the upper triangles of the Gram matrices."""
    import torch

    n = features[0].shape[0]
    sums = features[0].new_zeros((len(pairs), n), dtype=torch.float64)
    step = n if features[0].is_cuda else STRIP
    for start in range(0, n, step):
        stop = min(start + step, n)
        grams = [X[start:stop] @ X[start:].T for X in features]
        for row, (p, q) in zip(sums, pairs, strict=True):
            product = grams[p] * grams[q]
            row[start:stop] += product.sum(1)
            row[stop:] += product[:, stop - start :].sum(0)
    return sums


def _in_features(features: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return Σⱼ K_ij L_ij = xᵢᵀ (XᵀY) yᵢ, [q, n]; a model with itself needs only the upper triangle of XᵀX."""
    import torch

    sums: list[Tensor] = []
    for p, q in pairs:
        X, Y = features[p], features[q]
        if p != q:
            sums.append(torch.linalg.vecdot(X @ (X.T @ Y), Y).double())
            continue
        total = X.new_zeros(X.shape[0], dtype=torch.float64)
        d = X.shape[1]
        step = d if X.is_cuda else STRIP
        for start in range(0, d, step):
            stop = min(start + step, d)
            some, rest = X[:, start:stop], X[:, start:]
            weighted = some @ (some.T @ rest)
            weighted[:, stop - start :] *= 2  # the lower triangle is the upper one
            total += torch.linalg.vecdot(weighted, rest)
        sums.append(total)
    return torch.stack(sums)
