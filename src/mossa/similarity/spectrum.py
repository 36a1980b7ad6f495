"""How many dimensions a set of representations uses, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.features import Groups, centre
from mossa.similarity.products import self_product

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerSpectrum:
    """Dimensionality of one layer over n prompts; the numbers are None where `reason` says why."""

    layer: int  # 1..L
    n: int
    d: int
    dimensions: int | None
    participation_ratio: float | None
    effective_rank: float | None
    non_finite: int = 0
    reason: str | None = None


def spectrum(
    Y: arrays.Array,
    share: float = 0.99,
    *,
    non_finite: arrays.NonFinite = "error",
    device: torch.device | None = None,
) -> list[LayerSpectrum]:
    """Return the dimensionality of Y, [n, L, d] or [n, d], at every layer, from the variances λ of its n x n or d x d.

    `dimensions`: the fewest principal dimensions that explain `share` of the variance (the paper's figure 5).
    `participation_ratio`: (Σλ)² / Σλ². `effective_rank`: exp of the entropy of λ / Σλ (Roy and Vetterli 2007).
    `device`: where each layer is computed (default: where Y is).
    Raises SimilarityError for fewer than 4 prompts, a share outside (0, 1] and, by default, values not finite.
    """
    import torch

    if not 0 < share <= 1:
        raise SimilarityError(f"share is {share}; give the share of the variance to explain, such as 0.99.")
    layers = arrays.as_layers(Y, "Y")
    found: list[LayerSpectrum] = []
    for layer in range(1, layers.shape[1] + 1):
        here = layers[:, layer - 1].to(device)
        rows = arrays.finite_rows({"Y": here}, layer, non_finite)
        dropped = 0
        if rows is not None:
            dropped = int((~rows).sum())
            here = here[np.flatnonzero(rows)]
        n, d = here.shape
        if n < arrays.FEWEST:
            reason = f"only {n} finite prompts; {arrays.FEWEST} are needed"
            found.append(LayerSpectrum(layer, n, d, None, None, None, dropped, reason))
            continue
        try:
            centred = centre(here, Groups.of(None, n))
        except SimilarityError as undefined:
            found.append(LayerSpectrum(layer, n, d, None, None, None, dropped, str(undefined)))
            continue
        products = self_product(centred if n < d else centred.T)
        variances = torch.linalg.eigvalsh(products.double()).clamp_(min=0).flip(0).cpu().numpy()
        parts = variances / variances.sum()
        dimensions = min(int(np.searchsorted(parts.cumsum(), share) + 1), len(parts))
        some = parts[parts > 0]
        rank = float(np.exp(-(some * np.log(some)).sum()))
        found.append(LayerSpectrum(layer, n, d, dimensions, float(1 / (parts**2).sum()), rank, dropped))
    return found
