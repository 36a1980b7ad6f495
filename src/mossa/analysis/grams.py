"""Debiased linear CKA of many layers with many layers, as one product of unit vectors.

The inner product of two U-centred Gram matrices is the unbiased HSIC (Song et al. 2012; Székely and Rizzo 2014), so
once each is divided by its norm, every CKA between two lists of layers is one matrix product. For pairs of models at
one layer, with standard errors, use `mossa.similarity`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mossa.analysis.over_tasks import Floats
from mossa.errors import SimilarityError

FEWEST_PROMPTS = 4


def unit_grams(representations: NDArray[np.floating]) -> Floats:
    """Return `[L, n * n]`: the U-centred linear Gram matrix of every layer of `[n, L, d]`, divided by its norm.

    In float64, 8 L n² bytes. A layer that does not vary over prompts gives a row of NaN.
    """
    n, L, _ = representations.shape
    if n < FEWEST_PROMPTS:
        raise SimilarityError(f"{n} prompts: debiased CKA needs {FEWEST_PROMPTS} or more. Give more prompts.")
    units = np.empty((L, n * n))
    for layer in range(L):
        raw = representations[:, layer].astype(np.float64)
        x = raw - raw.mean(axis=0)
        if np.sum(x**2) <= 1e-12 * np.sum(raw**2):
            units[layer] = np.nan
            continue
        norms = np.sum(x**2, axis=1)
        # For centred x the row sums of the Gram matrix without its diagonal are -norms, so U-centring is a formula.
        gram = x @ x.T + (norms[:, None] + norms) / (n - 2) - norms.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(gram, 0.0)
        units[layer] = gram.ravel() / np.linalg.norm(gram)
    return units


def finite_prompts(arrays: Sequence[NDArray[np.floating]], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which prompts `[n]` are finite in all `arrays` `[n, L, d]`; SimilarityError if their n or L differ."""
    for array, name in zip(arrays, names, strict=True):
        if array.ndim != 3 or array.shape[0] != arrays[0].shape[0]:
            raise SimilarityError(
                f"{name!r} has representations of shape {array.shape} where {names[0]!r} has {arrays[0].shape}; "
                "they must be [n, L, d] on the same n prompts."
            )
    return np.all([np.isfinite(array).all(axis=(1, 2)) for array in arrays], axis=0)


def why_undefined(value: float) -> str | None:
    """Return the reason why a CKA of `unit_grams` has no value, null if it has one."""
    return "the representations of a side do not vary over prompts" if np.isnan(value) else None
