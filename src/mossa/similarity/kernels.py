"""Kernels other than the linear one: the same sums per prompt, from whole Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError, choices
from mossa.similarity.features import Groups
from mossa.similarity.products import RowProducts, self_product
from mossa.similarity.registry import KERNELS, View

if TYPE_CHECKING:
    from torch import Tensor


def gram(X: Tensor, view: View) -> Tensor:
    """Return the kernel matrix of centred features X [n, d] in float64, [n, n]; it is not centred.

    linear: X Xᵀ. rbf: exp(-D² / 2σ²) with σ = bandwidth x the median distance of different prompts (Kornblith et al.
    2019 use fractions .2, .4 and .8), the lower of the middle two if their number is even. rbf-demo: the same with the
    convention of those authors' public demo, the median over the whole matrix of D² with its zero diagonal, the mean of
    the middle two. polynomial: (1 + X Xᵀ / s)^degree with s the mean squared norm, so that it does not depend on the
    scale of X (the paper says neither its degree nor its offset). distance: -D, whose CKA is the squared distance
    correlation (Sejdinovic et al. 2013). Raises SimilarityError for an unknown kernel and for a median distance of 0.
    """
    import torch

    if view.kernel not in KERNELS:
        raise SimilarityError(f"There is no kernel {view.kernel!r}. {choices(view.kernel, KERNELS)}")
    if view.kernel == "distance":  # not by inner products, whose rounding the root of a small distance would magnify
        wide = X.double()
        return -torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist")
    K = self_product(X).double()
    norms = K.diagonal().clone()
    if view.kernel == "linear":
        return K
    if view.kernel == "polynomial":
        return (K / norms.mean() + 1) ** view.degree
    squares = (norms[:, None] + norms - 2 * K).clamp_(min=0).fill_diagonal_(0)
    median = _demo_median(squares) if view.kernel == "rbf-demo" else _median(squares)
    if not median > 0:
        raise SimilarityError("more than half of the prompts are equal, so the median distance is 0")
    return torch.exp(squares / (-2 * view.bandwidth**2 * median))


def _median(squares: Tensor) -> Tensor:
    """Return the lower median of the squared distances of different prompts."""
    import torch

    rows, columns = torch.triu_indices(len(squares), len(squares), 1, device=squares.device)
    return squares[rows, columns].median()


def _demo_median(squares: Tensor) -> Tensor:
    """Return the median of all entries; not by `quantile`, which refuses more than 16 million of them."""
    middle = squares.numel() // 2  # counting from 1, the entries `middle` and, if there are odd many, the one after it
    upper = squares.flatten().kthvalue(middle + 1).values
    return upper if squares.numel() % 2 else (squares.flatten().kthvalue(middle).values + upper) / 2


def centre_gram(K: Tensor, groups: Groups) -> Tensor:
    """Return the Gram matrix of the kernel's features less the mean of their group, [n, n]."""
    import torch

    labels = torch.from_numpy(groups.labels).to(K.device)
    member = torch.nn.functional.one_hot(labels, len(groups)).to(K.dtype)
    means = member / torch.from_numpy(groups.sizes).to(K)
    rows = K - member @ (means.T @ K)
    return rows - (rows @ means) @ member.T


def gram_products(
    grams: Sequence[Tensor], pairs: Sequence[tuple[int, int]], groups: Groups | None = None
) -> RowProducts:
    """Return the sums per prompt of centred Gram matrices over all prompts, or over the prompt's own group."""
    import torch

    norms = torch.stack([K.diagonal() for K in grams])
    if groups is not None:
        labels = torch.from_numpy(groups.labels).to(norms.device)
        same = (labels[:, None] == labels).to(norms.dtype)
        grams = [K * same for K in grams]
    products = torch.stack([torch.linalg.vecdot(grams[p], grams[q]) for p, q in pairs])
    return RowProducts(norms, products, torch.stack([norms @ K for K in grams]))
