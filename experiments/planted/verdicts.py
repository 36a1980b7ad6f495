"""Does a reading tell what a base was taught? Paired sign tests, differences, AUC, and the best rival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from experiments.planted.readings import PRIMARY, READINGS, RIVALS, task_values
from mossa.analysis.over_tasks import adjust

RESAMPLES = 4_000
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def verdicts(table: pd.DataFrame, between: Sequence[str], layers: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Return one row per (reading, layer), and one with a null layer for the mean over `layers`.

    `table` is that of `planted.readings`; `between` are the two bases with complementary halves, so that each task is
    planted in one and not in the other. `tasks`: how many can be compared; `right`: in how many the reading is on the
    right side; `p`: two-sided sign test; `p_holm`: over the readings but the primary one, which is asked alone
    (null for rivals and single layers); `difference`: mean over tasks, planted minus not, of the value as it is; `auc`:
    that a planted (task, base) scores above one that is not. Intervals are 95 % from a bootstrap over tasks which
    keeps both bases of a task together.
    """
    chosen = table[table["base"].isin(between)]
    rows = [_row(name, None, _pairs(chosen, name, layers), seed) for name in (*READINGS, *RIVALS)]
    for name in READINGS:
        for layer in sorted(chosen["layer"].unique()):
            rows.append(_row(name, int(layer), _pairs(chosen, name, [layer]), seed))
    found = pd.DataFrame(rows).astype({"layer": "Int64"})
    others = found["layer"].isna() & found["reading"].isin(set(READINGS) - {PRIMARY})
    found["p_holm"] = np.nan
    found.loc[others, "p_holm"] = adjust(found.loc[others, "p"], "holm")
    return found


def against_best_rival(
    table: pd.DataFrame, between: Sequence[str], layers: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """Return per reading its AUC minus that of the rival with the highest, with a paired 95 % bootstrap interval."""
    chosen = table[table["base"].isin(between)]
    pairs = {name: _pairs(chosen, name, layers) for name in (*READINGS, *RIVALS)}
    best = max(RIVALS, key=lambda name: _auc(pairs[name]))
    rows: list[dict[str, Any]] = []
    for name in READINGS:
        common = pairs[name].index.intersection(pairs[best].index)
        ours, rival = pairs[name].loc[common], pairs[best].loc[common]
        weights = _weights(len(common), seed)
        low, high = _interval(_aucs(ours, weights) - _aucs(rival, weights))
        gap = _auc(ours) - _auc(rival)
        rows.append({"reading": name, "rival": best, "gap": gap, "low": low, "high": high, "beats": low > 0})
    return pd.DataFrame(rows)


def rises(experimental: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Return how E compares with the base where a task was not planted; `experimental` has `task`, `difference`.

    `tasks`, `right` (E is closer to the control than the base is), sign test `p`, mean `difference` and its interval.
    """
    values = experimental.groupby("task")["difference"].mean()
    low, high = _interval(_weights(len(values), seed) @ values.to_numpy())
    return {**_sign(values), "difference": values.mean(), "low": low, "high": high}


def crossed(table: pd.DataFrame, between: Sequence[str], layers: Sequence[int]) -> pd.DataFrame:
    """Return per task the mean debiased CKA in the base where it is `planted` and in the one where it is `absent`."""
    chosen = table[table["base"].isin(between) & table["reading"].eq(PRIMARY) & table["layer"].isin(layers)]
    wide = chosen.groupby(["task", "cluster", "planted"])["value"].mean().unstack().reindex(columns=[True, False])
    return wide.rename(columns={True: "planted", False: "absent"}).dropna().reset_index()


def levels(table: pd.DataFrame, layers: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Return the mean debiased CKA between base and control, per base and whether planted, with its interval."""
    values = task_values(table[table["reading"] == PRIMARY], layers)
    rows: list[dict[str, Any]] = []
    for (base, planted), part in values.groupby(["base", "planted"], sort=False):
        low, high = _interval(_weights(len(part), seed) @ part["value"].to_numpy())
        mean = part["value"].mean()
        rows.append({"base": base, "planted": planted, "tasks": len(part), "value": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def _pairs(table: pd.DataFrame, reading: str, layers: Sequence[int]) -> pd.DataFrame:
    """Return per task its value and score in the base where it is planted and in that where it is not."""
    values = task_values(table[table["reading"] == reading], layers)
    sides = [values[values["planted"] == side].set_index("task")[["value", "score"]] for side in (True, False)]
    return sides[0].merge(sides[1], on="task", suffixes=("_planted", "_not"))


def _row(reading: str, layer: int | None, pairs: pd.DataFrame, seed: int) -> dict[str, Any]:
    difference = pairs["value_planted"] - pairs["value_not"]
    weights = _weights(len(pairs), seed)
    low, high = _interval(weights @ difference.to_numpy())
    auc_low, auc_high = _interval(_aucs(pairs, weights))
    return {
        "reading": reading,
        "rival": reading in RIVALS,
        "layer": layer,
        **_sign(pairs["score_planted"] - pairs["score_not"]),
        "difference": difference.mean(),
        "low": low,
        "high": high,
        "auc": _auc(pairs),
        "auc_low": auc_low,
        "auc_high": auc_high,
    }


def _sign(differences: pd.Series) -> dict[str, Any]:
    untied = differences[differences != 0]
    right = int((untied > 0).sum())
    p = float(binomtest(right, len(untied)).pvalue) if len(untied) else 1.0
    return {"tasks": len(differences), "right": right, "p": p}


def _auc(pairs: pd.DataFrame) -> float:
    """Return the probability that a planted score exceeds one that is not, ties counting half."""
    if pairs.empty:
        return float("nan")
    scores = pd.concat([pairs["score_planted"], pairs["score_not"]])
    return float(roc_auc_score(np.repeat([1, 0], len(pairs)), scores))


def _aucs(pairs: pd.DataFrame, weights: Matrix) -> Matrix:
    """Return the AUC of every resample of the tasks, [resamples]; `weights` as of `_weights`."""
    return ((weights @ _wins(pairs["score_planted"], pairs["score_not"])) * weights).sum(axis=1)


def _wins(above: Any, below: Any) -> Matrix:
    """Return for every two scores 1 where the one above is higher, 0 where it is lower and a half where they tie."""
    return np.sign(np.asarray(above, float)[:, None] - np.asarray(below, float)[None, :]) / 2 + 0.5


def _weights(tasks: int, seed: int) -> Matrix:
    """Return how often each task is drawn in each resample, as shares, [resamples, tasks]."""
    if not tasks:
        return np.empty((0, 0))
    return np.random.default_rng(seed).multinomial(tasks, np.full(tasks, 1 / tasks), RESAMPLES) / tasks


def _interval(draws: Matrix) -> tuple[float, float]:
    """Return the 95 % percentile interval, null where there was nothing to draw from."""
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
