"""Relatives of CKA, each a function of two tensors [n, d] of the same prompts, computed in float64.

Each raises SimilarityError with the reason where the number would be the same whatever the data. `invertible linear`
maps leave CCA and the predictor of a regression unchanged, but not the truncation of SVCCA, the weights of PWCCA or
the target of a regression, so none of them declares it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError
from mossa.similarity.features import varying

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 10  # as Huh et al. 2024
KEPT_VARIANCE = 0.99  # of each side in SVCCA, as Raghu et al. 2017


def _centred(X: Tensor) -> Tensor:
    """Return X in float64 less its mean, or say that it does not vary."""
    import torch

    wide = X.double()
    centred = wide - wide.mean(0)
    resolution = 2 * torch.finfo(torch.float64 if X.dtype == torch.float64 else torch.float32).eps
    if not varying(centred, wide, resolution).any():
        raise SimilarityError("the representations do not vary")
    return centred


def _principal(X: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return an orthonormal basis [n, k] of the leading dimensions of centred X and their k singular values."""
    import torch

    U, s, _ = torch.linalg.svd(X, full_matrices=False)
    rank = int((s > s[0] * max(X.shape) * torch.finfo(s.dtype).eps).sum())
    explained = (s**2).cumsum(0) / (s**2).sum()
    kept = min(int((explained < share - 1e-12).sum()) + 1, rank)
    return U[:, :kept], s[:kept]


def _enough_prompts(n: int, left: int, right: int) -> None:
    if left + right > n - 1:
        raise SimilarityError(
            f"{left} and {right} dimensions over n = {n} prompts overlap whatever the data: "
            f"some correlations are 1; give more than {left + right} prompts or reduce the dimensions"
        )


def svcca(Y: Tensor, Z: Tensor) -> float:
    """Return the mean canonical correlation of the dimensions that explain 99 % of each side's variance."""
    import torch

    left, _ = _principal(_centred(Y), KEPT_VARIANCE)
    right, _ = _principal(_centred(Z), KEPT_VARIANCE)
    _enough_prompts(len(Y), left.shape[1], right.shape[1])
    return float(torch.linalg.svdvals(left.T @ right).mean())


def pwcca(Y: Tensor, Z: Tensor) -> float:
    """Return the canonical correlations' mean, weighted by how much of Y each canonical direction accounts for."""
    import torch

    X = _centred(Y)
    left, _ = _principal(X, 1.0)
    right, _ = _principal(_centred(Z), 1.0)
    _enough_prompts(len(Y), left.shape[1], right.shape[1])
    U, correlations, _ = torch.linalg.svd(left.T @ right, full_matrices=False)
    weights = ((left @ U).T @ X).abs().sum(1)
    return float((weights * correlations).sum() / weights.sum())


def _alignment(Y: Tensor, Z: Tensor) -> float:
    """Return the nuclear norm of YᵀZ for centred sides of Frobenius norm 1: the best cosine over rotations."""
    import torch

    sides = [X / torch.linalg.vector_norm(X) for X in (_centred(Y), _centred(Z))]
    n = len(Y)
    small = [torch.linalg.qr(X.T, mode="r").R.T if X.shape[1] > n else X for X in sides]  # rotated to n dimensions
    return min(float(torch.linalg.svdvals(small[0].T @ small[1]).sum()), 1.0)


def procrustes(Y: Tensor, Z: Tensor) -> float:
    """Return the orthogonal Procrustes distance of the centred sides at Frobenius norm 1, 0 to √2; a metric."""
    return math.sqrt(2 - 2 * _alignment(Y, Z))


def procrustes_angular(Y: Tensor, Z: Tensor) -> float:
    """Return the angular shape distance in radians, 0 to π/2; a metric."""
    return math.acos(_alignment(Y, Z))


def _distances(X: Tensor) -> Tensor:
    """Return the Euclidean distances of all n (n - 1) / 2 pairs of prompts."""
    import torch

    return torch.nn.functional.pdist(_centred(X))


def _correlation(left: Tensor, right: Tensor) -> float:
    left, right = left - left.mean(), right - right.mean()
    size = float(left.norm() * right.norm())
    if size == 0:
        raise SimilarityError("all distances of one side are equal, so they have no correlation")
    return float(left @ right) / size


def rsa_pearson(Y: Tensor, Z: Tensor) -> float:
    """Return the Pearson correlation of the two sides' distances between prompts."""
    return _correlation(_distances(Y), _distances(Z))


def rsa_spearman(Y: Tensor, Z: Tensor) -> float:
    """Return the Spearman correlation of the two sides' distances between prompts; ties share their mean rank."""
    import torch
    from scipy.stats import rankdata

    left, right = (torch.from_numpy(rankdata(_distances(X).cpu().numpy())) for X in (Y, Z))
    return _correlation(left, right)


def distance_correlation(Y: Tensor, Z: Tensor) -> float:
    """Return the distance correlation, 0 to 1: of all prompts 0 only if the sides are independent."""
    import torch

    sides: list[Tensor] = []
    for X in (_centred(Y), _centred(Z)):
        D = torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist")
        sides.append(D - D.mean(0) - D.mean(1)[:, None] + D.mean())
    A, B = (side / torch.linalg.vector_norm(side) for side in sides)
    return float((A * B).sum().clamp_(min=0).sqrt())


def mutual_neighbours(Y: Tensor, Z: Tensor, k: int = NEIGHBOURS) -> float:
    """Return the share of each prompt's k nearest neighbours by cosine that both sides agree on, as a mean."""
    import torch

    if len(Y) <= k + 1:
        raise SimilarityError(f"{k} neighbours of n = {len(Y)} prompts are all of them; give more than {k + 1} prompts")
    member: list[Tensor] = []
    for X in (Y, Z):
        unit = torch.nn.functional.normalize(X.double(), dim=1, eps=torch.finfo(torch.float64).tiny)
        cosine = (unit @ unit.T).fill_diagonal_(-2)
        member.append(torch.zeros_like(cosine).scatter_(1, cosine.topk(k, dim=1).indices, 1))
    return float((member[0] * member[1]).sum() / (k * len(Y)))


def regression_r2(Y: Tensor, Z: Tensor) -> float:
    """Return the share of Z's variance that a linear regression on Y explains, in the sample."""
    import torch

    basis, _ = _principal(_centred(Y), 1.0)
    if basis.shape[1] >= len(Y) - 1:
        raise SimilarityError(
            f"{basis.shape[1]} dimensions fit n = {len(Y)} prompts exactly, whatever the data; "
            f"give more than {basis.shape[1] + 1} prompts or reduce the dimensions"
        )
    target = _centred(Z)
    return float((torch.linalg.vector_norm(basis.T @ target) / torch.linalg.vector_norm(target)) ** 2)
