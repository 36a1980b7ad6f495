"""Curves over depth, fitted by least squares: the broken line of the sections, and its rivals.

A family is a linear part plus at most one direction out of a grid, so a fit is one matrix product however many curves
`[B, L]` are fitted at once. Errors of neighbouring layers are correlated, so curves are `whitened` before they are
fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from mossa.analysis.over_tasks import Floats

PARAMETERS = {"one level": 1, "straight line": 2, "cubic": 4, "broken line with one knot": 4, "logistic": 5}
RIVALS = tuple(PARAMETERS)
FLATTEST = 2  # layers that a flat piece has at least
LAST_FREE = 8  # from this many layers on, the last one is left out of the fits
STEEPEST = 0.025  # width of the steepest logistic, in depths: from 10 % to 90 % of its rise in a ninth of the layers


@dataclass(frozen=True, eq=False)
class Family:
    """Curves `linear` `[L, p]` (orthonormal columns) plus a multiple of one of `directions` `[G, L]` (unit rows)."""

    linear: Floats
    directions: Floats
    rising: bool = False

    def fit(self, curves: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Return the squared error `[B]` and the chosen direction `[B]` for each of `curves` `[B, L]`."""
        rest = curves - curves @ self.linear @ self.linear.T
        error = np.einsum("bl,bl->b", rest, rest)
        if not len(self.directions):
            return error, np.zeros(len(curves), dtype=np.intp)
        along = rest @ self.directions.T
        explained = np.maximum(along, 0) if self.rising else np.abs(along)
        best = explained.argmax(axis=1)
        return error - explained[np.arange(len(best)), best] ** 2, best

    def curve(self, curve: Floats) -> Floats:
        """Return the fitted values `[L]` for one curve `[L]`."""
        part = self.linear @ (self.linear.T @ curve)
        if not len(self.directions):
            return part
        direction = self.directions[self.fit(curve[None])[1][0]]
        return part + direction * (direction @ (curve - part))


@cache
def knots(L: int) -> NDArray[np.int64]:
    """Return all (a, b) `[G, 2]` of a line that is flat up to layer a and from layer b on, for two layers or more each.

    `L` counts the fitted layers; with too few of them there is no such line.
    """
    pairs = [(a, b) for a in range(FLATTEST, L) for b in range(a + 1, L - FLATTEST + 2)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def whitened(curves: Floats, correlation: float) -> Floats:
    """Return curves `[..., L]` whose errors are independent if those of neighbouring layers have this correlation.

    Subtracts `correlation` times the layer before from each layer, and scales the first to the same error.
    """
    first = np.sqrt(1 - correlation**2) * curves[..., :1]
    return np.concatenate([first, curves[..., 1:] - correlation * curves[..., :-1]], axis=-1)


@lru_cache(32)
def broken_line(L: int, correlation: float) -> Family:
    """Return the family flat, rise, flat over L layers; its directions belong to `knots(L)`."""
    layer = np.arange(1, L + 1)
    ends = knots(L)
    ramps = np.clip((layer - ends[:, :1]) / (ends[:, 1:] - ends[:, :1]), 0, 1)
    return family(_powers(L, 0), ramps, correlation, rising=True)


@lru_cache(32)
def rival(name: str, L: int, rise: int, correlation: float) -> Family:
    """Return a rival of the broken line over L layers; `rise` is 1 if it competes with a step, 2 with a longer rise.

    A logistic steeper than the narrowest rise it is compared with would have flat parts itself. So the width of the
    steepest one is at least a quarter of a layer against a step, half a layer against a longer rise, and `STEEPEST`
    depths. It may be skewed to either side (Gompertz), and its middle may lie outside the layers, where it is an
    exponential.
    """
    if name == "logistic":
        return family(_powers(L, 0), _logistics(L, max(0.25 * rise, STEEPEST * L)), correlation)
    if name == "broken line with one knot":
        bends = np.maximum(np.arange(1, L + 1) - np.arange(1.25, L, 0.25)[:, None], 0)
        return family(_powers(L, 1), bends, correlation)
    degree = {"one level": 0, "straight line": 1, "cubic": 3}[name]
    return family(_powers(L, degree), np.empty((0, L)), correlation)


def _logistics(L: int, narrowest: float) -> Floats:
    layer = np.arange(1, L + 1)
    curves: list[Floats] = []
    for width in np.geomspace(narrowest, L, 40):
        middles = np.arange(1 - 3 * width, L + 3 * width, width / 8)
        z = np.clip((layer - middles[:, None]) / width, -30, 30)
        curves += [1 / (1 + np.exp(-z)), np.exp(-np.exp(-z)), -np.exp(-np.exp(z))]
    return np.concatenate(curves)


def _powers(L: int, degree: int) -> Floats:
    return np.linspace(-1, 1, L)[:, None] ** np.arange(degree + 1)


def family(linear: Floats, directions: Floats, correlation: float, rising: bool = False) -> Family:
    """Return the family of whitened curves; directions that the linear part already contains become zero."""
    linear = np.linalg.qr(whitened(linear.T, correlation).T)[0]
    directions = whitened(directions, correlation)
    rest = directions - directions @ linear @ linear.T
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    gone = length <= 1e-9 * np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-300)
    return Family(linear, np.where(gone, 0, rest / np.where(gone, 1, length)), rising)
