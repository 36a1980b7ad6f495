"""What carries over to tasks the experimental model never saw (RQ3, figure 7)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.bootstrap import MINIMUM_TASKS, Floats, interval, resample
from mossa.analysis.change import comparisons
from mossa.analysis.curves import populations
from mossa.analysis.significance import adjusted, wilcoxon

COLUMNS = [
    "experimental",
    "layer",
    "estimator",
    "tasks",
    "seen_tasks",
    "median",
    "low",
    "high",
    "p_value",
    "q_value",
    "seen_median",
    "gap",
    "gap_low",
    "gap_high",
    "gap_p_value",
    "gap_q_value",
    "reason",
]


def unseen(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, layer, estimator), the held-out tasks beside the seen ones; see `COLUMNS`.

    `gap` is the median difference of the held-out minus that of the seen tasks, with a bootstrap interval over
    both; `gap_p_value` is the Mann-Whitney test between them. Empty where nothing was held out.
    """
    rows: list[dict[str, object]] = []
    for experimental, estimator, differences in comparisons(curves, baseline):
        groups = populations(curves, experimental)
        if "held_out" not in groups:
            continue
        held_out = differences[differences.index.isin(groups["held_out"])]
        seen = differences[differences.index.isin(groups.get("seen", []))]
        for layer in held_out:
            head: dict[str, object] = {"experimental": experimental, "layer": layer, "estimator": estimator}
            ours, others = (part[layer].dropna().to_numpy(float) for part in (held_out, seen))
            rows.append(head | _unseen_row(ours, others))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = adjusted(table, "p_value", "q_value", ["experimental", "estimator"])
    return adjusted(table, "gap_p_value", "gap_q_value", ["experimental", "estimator"])


def _unseen_row(ours: Floats, others: Floats) -> dict[str, object]:
    p_value, reason = wilcoxon(ours)
    low, high = interval(ours)
    row: dict[str, object] = {
        "tasks": len(ours),
        "seen_tasks": len(others),
        "median": np.median(ours) if len(ours) else np.nan,
        "low": low,
        "high": high,
        "p_value": p_value,
        "reason": reason,
    }
    if not len(ours) or not len(others):
        return row
    row |= {"seen_median": np.median(others), "gap": np.median(ours) - np.median(others)}
    if min(len(ours), len(others)) >= MINIMUM_TASKS:
        gaps = np.median(ours[resample(len(ours))], axis=1) - np.median(others[resample(len(others), seed=1)], axis=1)
        gap_low, gap_high = np.quantile(gaps, [0.025, 0.975])
        p = float(stats.mannwhitneyu(ours, others).pvalue)
        row |= {"gap_low": gap_low, "gap_high": gap_high, "gap_p_value": p}
    return row
