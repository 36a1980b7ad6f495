"""Shared, transition, refinement: the sections of a model, found by a stated rule and only where it holds.

The paper reads its sections off figure 2 by eye. The rule here (docs/reference/analysis.md) asks whether the paired
differences, experimental model minus base against the same controls, are flat, rise, and are flat again, or rise
gradually.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mossa.analysis.broken_line import LAST_FREE, PARAMETERS, RIVALS, Family, broken_line, knots, rival, whitened
from mossa.analysis.change import comparisons
from mossa.analysis.curves import populations
from mossa.analysis.over_tasks import Floats
from mossa.errors import DataError

FEWEST_TASKS = 8
FEWEST_LAYERS = 6
RESAMPLES = 300
LEVEL = 0.02  # of the test; shapes without sections then get some in about 5 % of draws (docs/reference/analysis.md)
SURE = 0.95
CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)

COLUMNS = [
    "experimental", "estimator", "population", "tasks", "undefined", "layers", "sections", "identifiable",
    "shared_end", "shared_end_low", "shared_end_high", "shared_end_fraction", "transition_end", "transition_end_low",
    "transition_end_high", "transition_end_fraction", "shared_difference", "transition_difference",
    "refinement_difference", "gradual_from", "gradual_to", "p_value", "rival", "reason",
]  # fmt: skip


@dataclass(frozen=True)
class Boundary:
    """The last layer of a section (1..L) with its 95 % interval over tasks."""

    layer: int
    low: int
    high: int


@dataclass(frozen=True)
class SectionsFound:
    """What the rule says of paired differences `[T, L]`: `sections` is 3, 2 (no transition section) or 1 (none).

    `boundaries` are the last layers of the sections but the final one, `levels` the median difference in each section.
    `gradual` holds the layers between which a rise without flat parts goes from 10 % to 90 %. `p_values` is one per
    rival of the broken line, the `rival` with the largest is the hardest to reject. `reason` says why not three.
    """

    tasks: int
    undefined: int
    layers: int
    sections: int = 1
    boundaries: tuple[Boundary, ...] = ()
    levels: tuple[float, ...] = ()
    gradual: tuple[int, int] | None = None
    p_values: dict[str, float] = field(default_factory=dict[str, float])
    reason: str | None = None

    @property
    def rival(self) -> str | None:
        """The rival of the broken line that is the hardest to reject."""
        return max(self.p_values, key=self.p_values.__getitem__) if self.p_values else None


def find_sections(differences: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> SectionsFound:
    """Return the sections of paired differences `[T, L]`, experimental model minus base, by the rule of the docs.

    T tasks (those with a null at some layer are left out and counted), L layers. Raises DataError for another shape and
    for an infinite value.
    """
    given = np.asarray(differences, dtype=float)
    if given.ndim != 2 or np.isinf(given).any():
        raise DataError(f"Differences must be finite numbers [tasks, layers]; these have the shape {given.shape}.")
    complete = given[~np.isnan(given).any(axis=1)]
    (T, L), undefined = complete.shape, len(given) - len(complete)
    if T < FEWEST_TASKS:
        return SectionsFound(T, undefined, L, reason=f"there are {T} tasks; the rule needs {FEWEST_TASKS}.")
    if L < FEWEST_LAYERS:
        return SectionsFound(T, undefined, L, reason=f"there are {L} layers; the rule needs {FEWEST_LAYERS}.")
    fitted = complete[:, : L - 1 if L >= LAST_FREE else L]
    mean = fitted.mean(axis=0)
    correlation = _correlation(fitted - mean, mean)
    noise = _noise(fitted - mean, resamples, seed)
    fits = _Fits(mean, mean + noise, noise, correlation)
    tests = {name: fits.test(name) for name in RIVALS}
    found = SectionsFound(T, undefined, L, p_values=tests)
    return _sections(found, complete, fits) if max(tests.values()) <= LEVEL else _none(found, fits, mean)


def _correlation(residuals: Floats, mean: Floats) -> float:
    """Return the correlation of the errors `[T, L]` of neighbouring layers, rounded to one of `CORRELATIONS`.

    Each task's own level and its own share of the rise are subtracted first: they change no shape.
    """
    shape = mean - mean.mean()
    rest = residuals - residuals.mean(axis=1, keepdims=True)
    rest = rest - np.outer(rest @ shape, shape) / max(shape @ shape, 1e-300)
    spread = np.sum(rest**2)
    found = np.sum(rest[:, 1:] * rest[:, :-1]) / spread if spread > 0 else 0.0
    return min(CORRELATIONS, key=lambda each: abs(each - found))


def _noise(residuals: Floats, resamples: int, seed: int) -> Floats:
    """Return draws `[B, L]` of the error of the mean over tasks, from resampled tasks.

    Resampled means vary too little, by (T - 1) / T, and a variance estimated from only T tasks needs Student's t.
    """
    T = len(residuals)
    drawn = np.random.default_rng(seed).integers(0, T, size=(resamples, T))
    scale = np.sqrt(T / (T - 1)) * stats.t.ppf(0.975, T - 1) / stats.norm.ppf(0.975)
    return scale * residuals[drawn].mean(axis=1)


class _Fits:
    """The broken line fitted to the mean `[L]` and to its draws `[B, L]`, whitened."""

    def __init__(self, mean: Floats, draws: Floats, noise: Floats, correlation: float) -> None:
        self.mean, self.draws, self.noise = (whitened(each, correlation) for each in (mean[None], draws, noise))
        self.correlation = correlation
        self.layers = len(mean)
        self.lines = broken_line(self.layers, correlation)
        self.ends = knots(self.layers)
        self.rise = self.ends[:, 1] - self.ends[:, 0]

    def test(self, name: str) -> float:
        """Return the p value of a rival: how often the broken line fits better by as much when the rival is true."""
        error, best = self.lines.fit(self.mean)
        other = rival(name, self.layers, min(int(self.rise[best[0]]), 2), self.correlation)
        better = other.fit(self.mean)[0] - error
        under = other.curve(self.mean[0]) + self.noise
        drawn = other.fit(under)[0] - self.lines.fit(under)[0]
        rounding = 1e-12 * np.sum(self.mean**2)
        return float((1 + np.sum(drawn >= better - rounding)) / (1 + len(self.noise)))

    def criterion(self, name: str) -> float:
        """Return the Bayesian information criterion of a rival, which chooses among those not rejected."""
        error = rival(name, self.layers, 2, self.correlation).fit(self.mean)[0][0]
        floor = max(1e-12 * float(np.sum(self.mean**2)), 1e-300)
        return self.layers * np.log(max(error, floor)) + PARAMETERS[name] * np.log(self.layers)

    def places(self, steps_only: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the last layers of the sections but the final one: in the data, and in each draw."""
        if steps_only:
            chosen = self.rise == 1
            lines = Family(self.lines.linear, self.lines.directions[chosen], rising=True)
            ends = self.ends[chosen][:, :1]
        else:
            lines, ends = self.lines, self.ends - [0, 1]
        return ends[lines.fit(self.mean)[1][0]], ends[lines.fit(self.draws)[1]]


def _sections(found: SectionsFound, complete: Floats, fits: _Fits) -> SectionsFound:
    """Return three sections, or two where the rise may take one layer only."""
    longer = float(np.mean(fits.rise[fits.lines.fit(fits.draws)[1]] > 1))
    three = longer >= SURE and fits.rise[fits.lines.fit(fits.mean)[1][0]] > 1
    best, drawn = fits.places(steps_only=not three)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0, method="nearest")
    boundaries = tuple(
        Boundary(int(at), int(min(at, least)), int(max(at, most)))
        for at, least, most in zip(best, low, high, strict=True)
    )
    levels = tuple(float(piece.mean()) for piece in np.split(np.median(complete, axis=0), best))
    reason = f"the rise takes more than one layer in {longer:.0%} of the resamples; {SURE:.0%} are needed."
    reason = None if three else reason
    return replace(found, sections=len(levels), boundaries=boundaries, levels=levels, reason=reason)


def _none(found: SectionsFound, fits: _Fits, mean: Floats) -> SectionsFound:
    """Return why there are no sections: no rise, a gradual one, or a rise that falls again."""
    if found.p_values["one level"] > LEVEL:
        return replace(found, reason="the model does not come closer to the controls with depth: one level fits.")
    kept = [name for name, p_value in found.p_values.items() if p_value > LEVEL]
    name = min(kept, key=fits.criterion)
    curve = rival(name, len(mean), 2, 0.0).curve(mean)
    way = curve - curve[0]
    how = f"a {name} is not rejected against flat, rise, flat (p = {found.p_values[name]:.2g})."
    if way[-1] <= 0 or np.diff(way).min() < -0.02 * way[-1]:
        return replace(found, reason=f"the differences rise and fall: {how}")
    first, last = (int(np.argmax(way >= share * way[-1])) + 1 for share in (0.1, 0.9))
    return replace(found, gradual=(first, last), reason=f"gradual from layer {first} to {last}: {how}")


def sections(curves: pd.DataFrame, baseline: str, estimators: Sequence[str]) -> pd.DataFrame:
    """Return the sections of every (experimental, estimator, population); see `COLUMNS`.

    `sections` is 3, 2 (shared and refinement) or 1 (none found); `identifiable` means three. Boundaries are the last
    layer of a section, with their interval over tasks and as a fraction of depth; `*_difference` are the levels of the
    median paired difference; `gradual_from` and `gradual_to` hold a rise without flats. `p_value` belongs to the
    `rival` that is the hardest to reject. `reason` says why not three.
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
    layers = [int(layer) for layer in differences.columns]
    found = find_sections(differences.to_numpy(float))
    row: dict[str, object] = {name: getattr(found, name) for name in ("tasks", "undefined", "layers", "sections")}
    row |= {"identifiable": found.sections == 3, "rival": found.rival, "reason": found.reason}
    row["p_value"] = max(found.p_values.values(), default=None)
    if found.gradual:
        row["gradual_from"], row["gradual_to"] = (layers[each - 1] for each in found.gradual)
    names = {3: ("shared", "transition", "refinement"), 2: ("shared", "refinement")}.get(found.sections, ())
    row |= {f"{name}_difference": level for name, level in zip(names, found.levels, strict=True)}
    for name, boundary in zip(names, found.boundaries, strict=False):
        ends = {"": boundary.layer, "_low": boundary.low, "_high": boundary.high}
        row |= {f"{name}_end{suffix}": layers[place - 1] for suffix, place in ends.items()}
        row[f"{name}_end_fraction"] = layers[boundary.layer - 1] / layers[-1]
    return row
