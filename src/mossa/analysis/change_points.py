"""Exact change points: the split of a curve into pieces of constant level with the least squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mossa.analysis.bootstrap import Floats


def piece_costs(curves: Floats) -> Floats:
    """Return `[B, L + 1, L + 1]`: the squared error of calling layers i+1..j of each curve one level.

    `curves` is `[B, L, k]`: B curves with k values at each layer, whose errors add up. Where j <= i the cost is
    infinite.
    """
    B, L, k = curves.shape
    centred = curves - curves.mean(axis=1, keepdims=True)
    start = np.zeros((B, 1, k))
    total = np.concatenate([start, np.cumsum(centred, axis=1)], axis=1)
    square = np.concatenate([start, np.cumsum(centred**2, axis=1)], axis=1).sum(axis=2)
    length = np.arange(L + 1)[None, :] - np.arange(L + 1)[:, None]
    between = ((total[:, None, :, :] - total[:, :, None, :]) ** 2).sum(axis=3)
    cost = square[:, None, :] - square[:, :, None] - between / np.maximum(length, 1)
    return np.where(length > 0, np.maximum(cost, 0.0), np.inf)


def split(curves: Floats, pieces: int, shortest: int = 2) -> tuple[NDArray[np.int64], Floats]:
    """Return the last layer of every piece but the final one, `[B, pieces - 1]`, and the squared error `[B]`.

    Dynamic programming over all splits into `pieces` pieces of at least `shortest` layers, so the minimum is
    exact; of equal splits the one with the earliest last boundary wins. Layers count from 1.
    """
    B, L, _ = curves.shape
    if pieces * shortest > L:
        raise ValueError(f"{L} layers cannot hold {pieces} pieces of at least {shortest} layers.")
    cost = piece_costs(curves)
    too_short = np.arange(L + 1)[None, :] - np.arange(L + 1)[:, None] < shortest
    cost[:, too_short] = np.inf
    best = cost[:, 0, :]
    origins: list[NDArray[np.int64]] = []
    for _ in range(pieces - 1):
        through = best[:, :, None] + cost
        origins.append(through.argmin(axis=1))
        best = through.min(axis=1)
    ends = np.empty((B, pieces), dtype=np.int64)
    ends[:, -1] = L
    for piece in range(pieces - 2, -1, -1):
        ends[:, piece] = origins[piece][np.arange(B), ends[:, piece + 1]]
    return ends[:, :-1], best[:, L]
