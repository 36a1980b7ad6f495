"""The outcome: every contestant against what was planted, by the rules in docs/explanation/place.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, spearmanr

from experiments.place.bootstrap import interval, mean_words, words

Score = dict[str, Any]
LEARNED, OWN, OTHER, TIMES = 0.9, 0.5, 0.1, 5
OTHERS = "other tasks' Shapley values"


def outcome(folder: Path, counts: Callable[[Score], bool]) -> str:
    """Return the tables of all contestants as Markdown, from the scores in `folder` and the rule of which count."""
    scores = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    parts = {
        kind: [each for each in scores if each["kind"] == kind] for kind in ("crossed", "band", "all", "continued")
    }
    pairs = pairs_of(parts["crossed"])
    counted = {name: cases for name, cases in pairs.items() if all(map(counts, cases)) and len(cases) == 4}
    said = [
        f"{len(parts['crossed'])} crossed models of {len(pairs)} pairs; {len(counted)} pairs count in all 4 "
        f"placements; {sum(map(counts, parts['crossed']))} models count by themselves. "
        f"Bands: {len(parts['band'])} models, unconstrained: {len(parts['all'])}, continued: {len(parts['continued'])}."
    ]
    names = list(next(iter(scores[0]["seats"].values()))["readings"]) if scores else []
    for case in parts["all"]:  # a rival that knows how the layers' worth is spread for other tasks
        for task, seat in case["seats"].items():
            others = [_floats(other["shapley"]) for name, other in case["seats"].items() if name != task]
            seat["readings"][OTHERS] = np.nanmean(others, axis=0).tolist()
    singles = [case for case in parts["crossed"] if counts(case)]
    rows = [_row(name, parts, counted, singles) for name in [*names, *([OTHERS] if parts["all"] else [])]]
    return "\n".join([*said, "", *_markdown(rows)])


def counts(case: Score) -> bool:
    """Tell whether both tasks were learned, and leave-one-out says own > .5 and other < .1 nats."""
    return all(own > OWN and other < OTHER for own, other in _left_out(case))


def counts_relatively(case: Score) -> bool:
    """Tell whether both tasks were learned, and leave-one-out says own > .5 nats and at least 5 times the other's."""
    return all(own > OWN and own >= TIMES * other for own, other in _left_out(case))


def _left_out(case: Score) -> Iterator[tuple[float, float]]:
    """Yield for each task what leaving out its own layer and the other's costs, in nats; NaN for one not learned."""
    for number, seat in enumerate(case["seats"].values()):
        values = _floats(seat["leave-one-out"])
        own, other = (float(values[case["layers"][place][0] - 1]) for place in (number, 1 - number))
        learned = seat["accuracy"] >= LEARNED
        yield (own, other) if learned else (np.nan, np.nan)


def pairs_of(crossed: Iterable[Score]) -> dict[str, list[Score]]:
    """Return the models of each pair of tasks in one base."""
    found: dict[str, list[Score]] = {}
    for case in crossed:
        found.setdefault(f"{case['base']}: {' + '.join(case['tasks'])}", []).append(case)
    return found


def own_above_other(name: str, cases: Sequence[Score], rival: Callable[[Score, int], int] | None = None) -> list[float]:
    """Return for every task of every model 1 where a reading is higher at its own layer, 0 where lower, .5 for ties."""
    found: list[float] = []
    for case in cases:
        for number, seat in enumerate(case["seats"].values()):
            values = seat.get("readings" if rival is None else "decoy", {}).get(name)
            if values is None:
                continue
            own = case["layers"][number][0]
            other = case["layers"][1 - number][0] if rival is None else rival(case, number)
            here, there = values[own - 1], values[other - 1]
            if here is not None and there is not None:
                found.append(0.5 + 0.5 * float(np.sign(here - there)))
    return found


def _row(
    name: str, parts: dict[str, list[Score]], counted: dict[str, list[Score]], singles: list[Score]
) -> dict[str, str]:
    by_pair = np.array([np.mean(own_above_other(name, cases) or [np.nan]) for cases in counted.values()])
    by_pair = by_pair[np.isfinite(by_pair)]
    untied = by_pair[by_pair != 0.5]
    right = int((untied > 0.5).sum())
    p = binomtest(right, len(untied)).pvalue if len(untied) else 1.0
    decoys = own_above_other(name, singles, lambda case, _number: case["spare"][0])
    return {
        "reading": name,
        "pairs right": f"{right}/{len(untied)} (p = {p:.2g})",
        "own above other": _mean(np.asarray(by_pair, dtype=np.float64)),
        "points at own layer": _mean(np.array(_points(name, singles))),
        "above a random update": _mean(np.array(decoys)),
        "bands: Spearman": _spearman(*_centres(name, parts["band"])),
        "unconstrained: Spearman with Shapley": _mean(np.array(_with_shapley(name, parts["all"]))),
        "continued pre-training": _mean(np.array(_continued(name, parts["continued"]))),
    }


def _points(name: str, cases: Sequence[Score]) -> list[float]:
    """Return for every task of every model whether the highest of the 8 values is at its own layer."""
    found: list[float] = []
    for case in cases:
        for number, seat in enumerate(case["seats"].values()):
            values = _floats(seat["readings"].get(name))
            if np.isfinite(values).any():
                found.append(float(np.nanargmax(values) + 1 == case["layers"][number][0]))
    return found


def _centres(name: str, bands: Sequence[Score]) -> tuple[list[float], list[float]]:
    """Return the middle of each band of two layers, and the reading's centre of mass."""
    middles: list[float] = []
    masses: list[float] = []
    for case in bands:
        centre = centre_of_mass(next(iter(case["seats"].values()))["readings"].get(name))
        if len(case["layers"][0]) == 2 and centre is not None:
            middles.append(float(np.mean(case["layers"][0])))
            masses.append(centre)
    return middles, masses


def _with_shapley(name: str, models: Sequence[Score]) -> list[float]:
    """Return for every task of the unconstrained models the rank correlation over layers with its Shapley values."""
    found: list[float] = []
    for case in models:
        for seat in case["seats"].values():
            values, truth = _floats(seat["readings"].get(name)), _floats(seat["shapley"])
            if np.isfinite(values).all() and np.isfinite(truth).all() and np.ptp(values) > 0:
                found.append(float(rank_correlation(values, truth)))
    return found


def _continued(name: str, models: Sequence[Score]) -> list[float]:
    """Return for every skill whether the centre of mass is higher where the higher layers were free."""
    by_task: dict[str, dict[int, float | None]] = {}
    for case in models:
        values = next(iter(case["seats"].values()))["readings"].get(name)
        by_task.setdefault(f"{case['base']}{case['tasks'][0]}", {})[case["layers"][0][0]] = centre_of_mass(values)
    pairs = [(found[min(found)], found[max(found)]) for found in by_task.values() if len(found) == 2]
    return [0.5 + 0.5 * float(np.sign(high - low)) for low, high in pairs if low is not None and high is not None]


def centre_of_mass(values: Sequence[float | None] | None) -> float | None:
    """Return the mean layer, weighted by the values above 0; None if there are none."""
    weights = np.nan_to_num(_floats(values)).clip(min=0)
    return float(weights @ np.arange(1, len(weights) + 1) / weights.sum()) if weights.sum() > 0 else None


def _floats(values: Sequence[float | None] | None) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values or [None] * 8], dtype=float)


def _mean(values: NDArray[np.float64]) -> str:
    """Return a mean with its 95 % bootstrap interval and the number of values."""
    return f"{mean_words(values)} (n = {len(values)})" if len(values) else ""


def rank_correlation(one: Any, other: Any) -> float:
    """Return Spearman's rank correlation."""
    found: Any = spearmanr(one, other)
    return float(found.statistic)


def _spearman(middles: Sequence[float], masses: Sequence[float]) -> str:
    if len(middles) < 4 or np.ptp(masses) == 0:
        return ""
    one, other = np.array(middles), np.array(masses)

    def of(drawn: NDArray[np.int64]) -> float:
        varies = np.ptp(one[drawn]) > 0 and np.ptp(other[drawn]) > 0
        return rank_correlation(one[drawn], other[drawn]) if varies else np.nan

    return f"{words(rank_correlation(one, other), *interval(len(one), of))} (n = {len(one)})"


def _markdown(rows: Sequence[dict[str, str]]) -> list[str]:
    if not rows:
        return ["Nothing is scored yet."]
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(row.values())} |" for row in rows]
