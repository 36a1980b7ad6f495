"""Shared, transition, refinement: the sections of a model, found by a stated rule and only where it holds.

The paper reads its sections off figure 2 by eye. The rule here (docs/analysis.md) segments the box of the paired
differences, experimental model minus base against the same controls, and says when the data do not carry it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mossa.analysis.bootstrap import Floats, resample
from mossa.analysis.change import comparisons
from mossa.analysis.change_points import split
from mossa.analysis.curves import populations

FEWEST_TASKS = 8
SHORTEST = 2
SUPPORT = 0.95
WIDEST = 0.25
PARAMETERS = {1: 1, 2: 3, 3: 5}

COLUMNS = [
    "experimental",
    "estimator",
    "population",
    "tasks",
    "undefined",
    "layers",
    "sections",
    "identifiable",
    "shared_end",
    "shared_end_low",
    "shared_end_high",
    "shared_end_fraction",
    "transition_end",
    "transition_end_low",
    "transition_end_high",
    "transition_end_fraction",
    "shared_difference",
    "transition_difference",
    "refinement_difference",
    "support",
    "reason",
]


class Fit(NamedTuple):
    """A segmentation with its evidence: `ends`, `low` and `high` are layers `[pieces - 1]`, `levels` `[pieces]`."""

    ends: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    levels: Floats
    support: float
    problem: str | None


def boxes(differences: Floats) -> Floats:
    """Return first quartile, median and third quartile over tasks: `[..., T, L]` to `[..., L, 3]`."""
    return np.moveaxis(np.quantile(differences, [0.25, 0.5, 0.75], axis=-2), 0, -1)


def find_sections(differences: Floats) -> Fit:
    """Return the three sections of paired differences `[T, L]`, else two, else none.

    `problem` is null for three sections; for two it says why not three, and for none (`ends` is empty) why neither.
    """
    T, L = differences.shape
    none = np.empty(0, dtype=np.int64)
    nothing = Fit(none, none, none, np.empty(0), 0.0, None)
    if T < FEWEST_TASKS:
        return nothing._replace(problem=f"there are too few tasks to resample ({T}; {FEWEST_TASKS} are needed).")
    samples = [boxes(differences)[None]]
    samples += [boxes(differences[chunk]) for chunk in np.array_split(resample(T), 10)]
    curves = np.concatenate(samples)
    problems: list[str] = []
    for pieces in (3, 2):
        if pieces * SHORTEST > L:
            problems.append(f"{L} layers cannot hold {pieces} sections of at least {SHORTEST} layers.")
            continue
        fit = _fit(curves, pieces)
        if fit.problem is None:
            return fit._replace(problem=" ".join(problems) or None)
        problems.append(fit.problem)
    return nothing._replace(problem=" ".join(problems))


def _fit(curves: Floats, pieces: int) -> Fit:
    """Fit `pieces` pieces to boxes `[1 + resamples, L, 3]`, the data first, and name the first criterion that fails.

    A boundary is the median of its places over the resamples: where two splits fit nearly alike, the best split of the
    data alone jumps between them.
    """
    L = curves.shape[1]
    found = [split(chunk, pieces, SHORTEST) for chunk in np.array_split(curves, 10)]
    places = np.concatenate([each[0] for each in found])
    score = _bic(np.concatenate([each[1] for each in found]), L, PARAMETERS[pieces])
    needed = np.mean(score[1:] < _simpler(curves, pieces)[1:])
    low, ends, high = np.quantile(places[1:], [0.025, 0.5, 0.975], axis=0, method="nearest").astype(int)
    levels = _levels(curves[:1, :, 1], ends[None])[0]
    moved = _levels(curves[1:, :, 1], places[1:])
    rise = np.quantile(moved[:, 1:] - moved[:, :1], 0.025, axis=0)
    where = " | ".join(map(str, ends))
    spans = ", ".join(f"{a}-{b}" for a, b in zip(low, high, strict=True))
    problem = None
    if needed < SUPPORT:
        problem = (
            f"{pieces} sections describe the differences better than a straight line or fewer sections in "
            f"{needed:.0%} of the resamples of tasks; {SUPPORT:.0%} are needed."
        )
    elif np.any(high - low > WIDEST * L):
        problem = (
            f"the boundaries of {pieces} sections ({where}) move over layers {spans} when tasks are resampled; "
            f"at most a quarter of the {L} layers is allowed."
        )
    elif pieces == 3 and high[0] >= low[1]:
        problem = f"the intervals of the boundaries of {pieces} sections ({where}) overlap: layers {spans}."
    elif np.any(rise <= 0):
        problem = (
            f"with {pieces} sections, after layer {ends[0]} the model is not surely closer to the controls "
            f"than before it (lower end of the change in level {rise.min():+.3f})."
        )
    return Fit(ends, low, high, levels, float(needed), problem)


def _bic(error: Floats, L: int, parameters: int) -> Floats:
    """Return `L ln(error / L) + p ln L`; errors below 1e-12 a layer count as that, so exact fits compare by p."""
    return L * np.log(np.maximum(error / L, 1e-12)) + parameters * np.log(L)


def _simpler(curves: Floats, pieces: int) -> Floats:
    """Return the best BIC `[B]` among one level, a straight line and, for three pieces, two pieces."""
    L = curves.shape[1]
    depth = np.arange(L) - (L - 1) / 2
    centred = curves - curves.mean(axis=1, keepdims=True)
    slope = np.einsum("l,blk->bk", depth, centred) / np.sum(depth**2)
    level = np.sum(centred**2, axis=(1, 2))
    line = np.sum((centred - depth[None, :, None] * slope[:, None, :]) ** 2, axis=(1, 2))
    scores = [_bic(level, L, 1), _bic(line, L, 2)]
    if pieces == 3:
        two = np.concatenate([split(chunk, 2, SHORTEST)[1] for chunk in np.array_split(curves, 10)])
        scores.append(_bic(two, L, PARAMETERS[2]))
    return np.min(scores, axis=0)


def _levels(medians: Floats, ends: NDArray[np.int64]) -> Floats:
    """Return the mean of the median difference in every piece, `[B, pieces]`."""
    B, L = medians.shape
    total = np.concatenate([np.zeros((B, 1)), np.cumsum(medians, axis=1)], axis=1)
    edges = np.concatenate([np.zeros((B, 1), int), ends, np.full((B, 1), L)], axis=1)
    return np.diff(np.take_along_axis(total, edges, axis=1), axis=1) / np.diff(edges, axis=1)


def sections(curves: pd.DataFrame, baseline: str, estimators: Sequence[str]) -> pd.DataFrame:
    """Return the sections of every (experimental, estimator, population); see `COLUMNS`.

    `sections` is 3, 2 (shared and refinement) or 1 (none found); `identifiable` means three. Boundaries are the last
    layer of a section, with their interval over tasks and as a fraction of depth; `*_difference` are the levels of the
    median paired difference. `support` is the share of resamples in which the sections that were found were needed.
    `reason` says why not three.
    """
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        if estimator in estimators:
            for population, members in populations(curves, experimental).items():
                head = {"experimental": experimental, "estimator": estimator, "population": population}
                rows.append(head | _row(differences[differences.index.isin(members)]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(differences: pd.DataFrame) -> dict[str, object]:
    """Return one row of the table (without its first three columns) for differences `[T, L]`."""
    complete = differences.dropna()
    layers = differences.columns
    fit = find_sections(complete.to_numpy(float))
    row: dict[str, object] = {
        "tasks": len(complete),
        "undefined": len(differences) - len(complete),
        "layers": len(layers),
        "sections": len(fit.levels) or 1,
        "identifiable": len(fit.levels) == 3,
        "support": fit.support if len(fit.levels) else None,
        "reason": fit.problem,
    }
    names = {3: ("shared", "transition", "refinement"), 2: ("shared", "refinement")}.get(len(fit.levels), ())
    row |= {f"{name}_difference": float(level) for name, level in zip(names, fit.levels, strict=True)}
    for name, *ends in zip(names, fit.ends, fit.low, fit.high, strict=False):
        end, low, high = (int(layers[position - 1]) for position in ends)
        row |= {f"{name}_end": end, f"{name}_end_low": low, f"{name}_end_high": high}
        row[f"{name}_end_fraction"] = end / int(layers[-1])
    return row
