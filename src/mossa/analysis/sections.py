"""Shared, transition, refinement: the sections of a model, found by a stated rule and only where it holds.

The paper reads its sections off figure 2 by eye. The rule here (docs/analysis.md) asks whether the paired differences,
experimental model minus base against the same controls, are flat, rise, and are flat again, or rise gradually.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from mossa.analysis.bootstrap import Floats
from mossa.analysis.broken_line import LAST_FREE, RIVALS, Family, broken_line, knots, rival
from mossa.analysis.change import comparisons
from mossa.analysis.curves import populations
from mossa.errors import DataError

FEWEST_TASKS = 8
FEWEST_LAYERS = 6
RESAMPLES = 200
LEVEL = 0.05
SURE = 0.95

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
    "gradual_from",
    "gradual_to",
    "p_value",
    "rival",
    "reason",
]


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
    `gradual` holds the layers between which a rise without flats makes its way from 10 % to 90 %. `p_values` is one
    per rival of the broken line, the `rival` with the largest is the hardest to reject. `reason` says why not three.
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
    fitted = L - 1 if L >= LAST_FREE else L
    mean = complete[:, :fitted].mean(axis=0)
    noise = _noise(complete[:, :fitted] - mean, resamples, seed)
    tests = {name: _test(name, mean, noise) for name in RIVALS}
    found = SectionsFound(T, undefined, L, p_values=tests)
    return _sections(found, complete, mean + noise) if max(tests.values()) <= LEVEL else _none(found, mean)


def _noise(residuals: Floats, resamples: int, seed: int) -> Floats:
    """Return draws `[B, L]` of the error of the mean over tasks, from resampled tasks.

    Resampled means spread too little by (T - 1) / T, and a spread known from T tasks alone asks for Student's t.
    """
    T = len(residuals)
    drawn = np.random.default_rng(seed).integers(0, T, size=(resamples, T))
    scale = np.sqrt(T / (T - 1)) * stats.t.ppf(0.975, T - 1) / stats.norm.ppf(0.975)
    return scale * residuals[drawn].mean(axis=1)


def _test(name: str, mean: Floats, noise: Floats) -> float:
    """Return the p value of a rival: how often the broken line is as much better where the rival is the truth."""
    L = len(mean)
    lines = broken_line(L)
    error, best = lines.fit(mean[None])
    a, b = knots(L)[best[0]]
    other = rival(name, L, int(b - a))
    better = other.fit(mean[None])[0] - error
    under = other.curve(mean) + noise
    drawn = other.fit(under)[0] - lines.fit(under)[0]
    rounding = 1e-12 * (mean @ mean)
    return float((1 + np.sum(drawn >= better - rounding)) / (1 + len(noise)))


def _sections(found: SectionsFound, complete: Floats, draws: Floats) -> SectionsFound:
    """Return three sections, or two where the rise may take one layer only."""
    lines, ends = broken_line(draws.shape[1]), knots(draws.shape[1])
    rise = ends[:, 1] - ends[:, 0]
    mean = complete[:, : draws.shape[1]].mean(axis=0, keepdims=True)
    longer = float(np.mean(rise[lines.fit(draws)[1]] > 1))
    if longer >= SURE and rise[lines.fit(mean)[1][0]] > 1:
        places, reason = ends - [0, 1], None
    else:
        steps = rise == 1
        lines, places = Family(lines.linear, lines.directions[steps], rising=True), ends[steps][:, :1]
        reason = f"the rise takes more than one layer in {longer:.0%} of the resamples; {SURE:.0%} are needed."
    best, drawn = places[lines.fit(mean)[1][0]], places[lines.fit(draws)[1]]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0, method="nearest")
    boundaries = tuple(
        Boundary(int(at), int(min(at, least)), int(max(at, most)))
        for at, least, most in zip(best, low, high, strict=True)
    )
    pieces = np.split(np.median(complete, axis=0), best)
    levels = tuple(float(piece.mean()) for piece in pieces)
    return _replaced(found, sections=len(levels), boundaries=boundaries, levels=levels, reason=reason)


def _none(found: SectionsFound, mean: Floats) -> SectionsFound:
    """Return why there are no sections: no rise, a gradual one, or a rise that falls again."""
    if found.p_values["one level"] > LEVEL:
        return _replaced(found, reason="the model does not come closer to the controls with depth: one level fits.")
    name = str(found.rival)
    curve = rival(name, len(mean), 2).curve(mean)
    way = (curve - curve[0]) / (curve[-1] - curve[0])
    how = f"a {name} is not rejected against flat, rise, flat (p = {found.p_values[name]:.2g})."
    if curve[-1] <= curve[0] or np.diff(way).min() < -0.02:
        return _replaced(found, reason=f"the differences rise and fall: {how}")
    first, last = (int(np.argmax(way >= share)) + 1 for share in (0.1, 0.9))
    return _replaced(found, gradual=(first, last), reason=f"gradual from layer {first} to {last}: {how}")


def _replaced(found: SectionsFound, **changes: Any) -> SectionsFound:
    return SectionsFound(**{**vars(found), **changes})


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
