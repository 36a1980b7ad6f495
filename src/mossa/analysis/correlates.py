"""What correlates with similarity over tasks: readability, data size, dose, prompt length, loss (figure 6)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.controls import failed
from mossa.analysis.over_tasks import Floats, adjusted

FEWEST_TASKS = 5

CORRELATES = [
    "flesch_kincaid", "coleman_liau", "train", "steps", "update_norm", "prompt_tokens", "control_loss", "base_loss",
]  # fmt: skip

COLUMNS = [
    "experimental", "estimator", "layer", "correlate", "method", "correlation", "low", "high", "p_value", "q_value",
    "tasks", "reason",
]  # fmt: skip


def correlates(curves: pd.DataFrame, tasks: pd.DataFrame, dosed: pd.DataFrame) -> pd.DataFrame:
    """Return, per (experimental, estimator, layer, correlate, method), a correlation over tasks; see `COLUMNS`.

    `method` is `pearson` (interval by Fisher's z) or `spearman` (the same with the variance of Bonett and Wright,
    2000). `q_value` is Benjamini-Hochberg over layers. Null with a `reason` below 5 tasks or where a side is constant.
    """
    covariates = _covariates(tasks, dosed)
    rows: list[dict[str, object]] = []
    names = list(covariates)
    own = curves[curves["relation"] == "control"].merge(covariates, left_on="task", right_index=True)
    for (experimental, estimator, layer), group in own.groupby(["experimental", "estimator", "layer"], sort=False):
        value = group["value"].to_numpy(float)
        for name, side in zip(names, group[names].to_numpy(float).T, strict=True):
            both = ~np.isnan(value) & ~np.isnan(side)
            for method in ("pearson", "spearman"):
                row: dict[str, object] = {"experimental": experimental, "estimator": estimator, "layer": layer}
                row |= {"correlate": name, "method": method}
                rows.append(row | correlation(value[both], side[both], method))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return adjusted(table, ["experimental", "estimator", "correlate", "method"], "q_value")


def correlation(x: Floats, y: Floats, method: str) -> dict[str, object]:
    """Return correlation, 95 % interval, p value and number of tasks of two sides `[T]`, or the reason for none."""
    T = len(x)
    if T < FEWEST_TASKS:
        return {"tasks": T, "reason": f"{T} tasks have both values; {FEWEST_TASKS} are needed"}
    if np.ptp(x) <= 1e-10 * np.abs(x).max() or np.ptp(y) <= 1e-10 * np.abs(y).max():
        return {"tasks": T, "reason": "one side is the same for every task"}
    r, p_value = map(float, stats.pearsonr(x, y) if method == "pearson" else stats.spearmanr(x, y))
    r = float(np.clip(r, -1, 1))
    error = np.sqrt((1 if method == "pearson" else 1 + r**2 / 2) / (T - 3))
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    low, high = np.tanh(z - 1.96 * error), np.tanh(z + 1.96 * error)
    return {"correlation": r, "low": low, "high": high, "p_value": p_value, "tasks": T, "reason": None}


def _covariates(tasks: pd.DataFrame, dosed: pd.DataFrame) -> pd.DataFrame:
    """Return one column per correlate that has any value, `[T, correlates]`; dose and losses are means over seeds."""
    usable = dosed[~failed(dosed)].rename(columns={"loss": "control_loss"}).groupby("task")
    means = usable[["steps", "update_norm", "control_loss", "base_loss"]].mean()
    both = pd.concat([tasks.set_index("task"), means], axis=1)
    return both[[name for name in CORRELATES if name in both and both[name].notna().any()]].astype(float)
