"""How often the sections rule finds sections where they are and where they are not, on simulated task curves.

Task curves are a shape times `--rise`, plus noise of standard deviation .05 per task and layer that is either
independent over layers or autocorrelated (.8 from one layer to the next). docs/reference/analysis.md has its
table: `python benchmarks/sections.py --draws 100 --json runs/bench/sections.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from mossa.analysis import find_sections

Curve = NDArray[np.float64]
Shape = Callable[[int], Curve]
NOISE = 0.05


def depth(L: int) -> Curve:
    """Return 0 to 1 over L layers."""
    return np.linspace(0, 1, L)


def ramp(first: float, last: float) -> Shape:
    """Return a line that is flat, rises between two shares of the depth, and is flat; each flat has two layers."""

    def curve(L: int) -> Curve:
        a = max(2, round(first * L))
        b = min(max(a + 2, round(last * L)), L - 1)
        return np.clip((np.arange(1, L + 1) - a) / (b - a), 0, 1)

    return curve


def logistic(steepness: float, middle: float = 0.5) -> Shape:
    """Return a logistic over the depth."""
    return lambda L: 1 / (1 + np.exp(-steepness * (depth(L) - middle)))


PLANTED: dict[str, Shape] = {
    "flat, ramp over the middle third, flat": ramp(1 / 3, 2 / 3),
    "flat, ramp over a fifth, flat": ramp(0.28, 0.48),
}
STEP: dict[str, Shape] = {"one step in the middle": lambda L: (np.arange(L) >= L // 2).astype(float)}
STAIR: dict[str, Shape] = {"two steps, three levels": lambda L: np.searchsorted([0.28, 0.48], depth(L)) / 2}
WITHOUT: dict[str, Shape] = {
    "level": lambda L: np.zeros(L),
    "straight line": depth,
    "1 - exp(-5u)": lambda L: 1 - np.exp(-5 * depth(L)),
    "exp(4u)": lambda L: np.exp(4 * depth(L) - 4),
    "u squared": lambda L: depth(L) ** 2,
    "u cubed": lambda L: depth(L) ** 3,
    "square root": lambda L: np.sqrt(depth(L)),
    "tanh(4u)": lambda L: np.tanh(4 * depth(L)),
    "logarithm": lambda L: np.log1p(20 * depth(L)) / np.log(21),
    "logistic, 10": logistic(10),
    "logistic, 20": logistic(20),
    "logistic, 20, at .3": logistic(20, 0.3),
    "arctangent, 15": lambda L: 0.5 + np.arctan(15 * (depth(L) - 0.5)) / np.pi,
    "Gompertz, 10": lambda L: np.exp(-np.exp(-10 * (depth(L) - 0.4))),
    "knot, then a line": lambda L: np.maximum(depth(L) - 0.5, 0) * 2,
    "line, then flat": lambda L: np.minimum(depth(L), 0.5) * 2,
    "hump": lambda L: np.sin(np.pi * depth(L)),
    "last layer raised": lambda L: (np.arange(L) == L - 1).astype(float),
    "last layer lowered": lambda L: -(np.arange(L) == L - 1).astype(float),
    "1 - exp(-5u), last lowered": lambda L: 1 - np.exp(-5 * depth(L)) - 0.5 * (np.arange(L) == L - 1),
}
NEARLY: dict[str, Shape] = {
    "normal distribution function (its ends are flat)": lambda L: (1 + erf(5 * depth(L) - 2.5)) / 2
}
SHAPES = {"planted": PLANTED, "step": STEP, "stair": STAIR, "without": WITHOUT, "nearly": NEARLY}


def curves(shape: Curve, T: int, correlation: float, seed: int, noise: float = NOISE) -> Curve:
    """Return task curves `[T, L]` around a shape `[L]`, with noise that is carried from layer to layer."""
    drawn = np.random.default_rng(seed).normal(size=(T, len(shape)))
    for layer in range(1, len(shape)):
        drawn[:, layer] = correlation * drawn[:, layer - 1] + np.sqrt(1 - correlation**2) * drawn[:, layer]
    return shape + noise * drawn


def share(shape: Shape, L: int, T: int, correlation: float, draws: int, rise: float) -> dict[str, float]:
    """Return the shares of draws with three, two and no sections."""
    found = [find_sections(curves(rise * shape(L), T, correlation, seed), seed=seed).sections for seed in range(draws)]
    return {name: float(np.mean(np.array(found) == n)) for name, n in (("three", 3), ("two", 2), ("none", 1))}


def main() -> None:
    """Print one line per shape, layers, tasks and correlation."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--draws", type=int, default=100)
    arguments.add_argument("--rise", type=float, default=0.3)
    arguments.add_argument("--layers", type=int, nargs="+", default=[6, 12, 24, 30, 80])
    arguments.add_argument("--tasks", type=int, nargs="+", default=[12, 24, 60])
    arguments.add_argument("--kinds", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    rows: list[dict[str, object]] = []
    for L in given.layers:
        for T in given.tasks:
            for kind in given.kinds:
                for name, shape in SHAPES[kind].items():
                    for correlation in (0.0, 0.8):
                        start = time.perf_counter()
                        found = share(shape, L, T, correlation, given.draws, given.rise)
                        each = (time.perf_counter() - start) / given.draws
                        row = {"kind": kind, "shape": name, "layers": L, "tasks": T, "correlation": correlation}
                        rows.append(row | found | {"seconds": each})
                        print(
                            " ".join(
                                f"{value:.2f}" if isinstance(value, float) else str(value)
                                for value in rows[-1].values()
                            ),
                            flush=True,
                        )
            if given.json:
                given.json.parent.mkdir(parents=True, exist_ok=True)
                given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    sys.exit(0)


if __name__ == "__main__":
    main()
