"""RBF and polynomial kernels: the same sums per prompt, from whole Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError, choices
from mossa.similarity.features import Groups
from mossa.similarity.products import RowProducts

if TYPE_CHECKING:
    from torch import Tensor

KERNELS = ("linear", "rbf", "polynomial")
BANDWIDTH = 1.0  # of the RBF kernel, as a fraction of the median distance between prompts
DEGREE = 3  # of the polynomial kernel


def gram(X: Tensor, kernel: str, *, bandwidth: float = BANDWIDTH, degree: int = DEGREE) -> Tensor:
    """Return the kernel matrix [n, n] of features [n, d] that are centred; it is not centred yet.

    linear: X Xᵀ. rbf: exp(-D² / 2σ²) with σ = bandwidth x the median distance of different prompts (Kornblith et al.
    2019 use fractions .2, .4 and .8). polynomial: (1 + X Xᵀ / s)^degree with s the mean squared norm, so that it does
    not depend on the scale of X (the paper does not say its degree or offset).
    """
    import torch

    K = X @ X.T
    if kernel == "linear":
        return K
    norms = K.diagonal().clone()
    if kernel == "polynomial":
        return (K / norms.mean() + 1) ** degree
    if kernel != "rbf":
        raise SimilarityError(f"There is no kernel {kernel!r}. {choices(kernel, KERNELS)}")
    squares = (norms[:, None] + norms[None] - 2 * K).clamp_(min=0)
    squares.fill_diagonal_(0)
    n = X.shape[0]
    upper = torch.triu_indices(n, n, 1, device=X.device)
    median = squares[upper[0], upper[1]].median()
    if not median > 0:
        raise SimilarityError("more than half of the prompts are alike, so the median distance is 0")
    return torch.exp(squares / (-2 * bandwidth**2 * median))


def centre_gram(K: Tensor, groups: Groups) -> Tensor:
    """Return the Gram matrix of the features less the mean of their group, without the features."""
    import torch

    labels = torch.from_numpy(groups.labels).to(K.device)
    member = torch.nn.functional.one_hot(labels, len(groups)).to(K.dtype)
    means = member / torch.from_numpy(groups.sizes).to(K)
    K = K - (member @ (means.T @ K))
    return K - (K @ means) @ member.T


def kernel_products(
    features: Sequence[Tensor], pairs: Sequence[tuple[int, int]], kernel: str, groups: Groups
) -> tuple[RowProducts, RowProducts]:
    """Return the sums per prompt over all prompts, and over the prompt's own group."""
    import torch

    grams = [centre_gram(gram(X, kernel), groups) for X in features]
    labels = torch.from_numpy(groups.labels).to(grams[0].device)
    same = (labels[:, None] == labels[None]).to(grams[0].dtype)
    norms = torch.stack([K.diagonal() for K in grams])
    products = [(grams[p] * grams[q]) for p, q in pairs]
    everyone = torch.stack([product.sum(1) for product in products]).double()
    own = torch.stack([(product * same).sum(1) for product in products]).double()
    crosses = torch.stack([norms @ (K * same) for K in grams]).double()
    return RowProducts(norms.double(), everyone, crosses), RowProducts(norms.double(), own, crosses)
