"""What carries over to tasks the experimental model never saw (RQ3, figure 7)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mossa.analysis.change import over_tasks, paired_differences
from mossa.analysis.curves import populations
from mossa.analysis.over_tasks import Floats, adjusted, shift

COLUMNS = [
    "experimental", "other", "layer", "estimator", "tasks", "seen_tasks", "median", "low", "high", "p_value",
    "q_value", "seen_median", "gap", "gap_low", "gap_high", "gap_p_value", "gap_q_value", "reason",
]  # fmt: skip
OVERALL_COLUMNS = [name for name in COLUMNS if name not in ("layer", "q_value", "gap_q_value")]


def unseen(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (experimental, other, layer, estimator), the contrast on held-out and on seen tasks; see `COLUMNS`.

    The contrast is experimental model minus `other`, paired over the same tasks and controls. `other` is the base, or a
    model that saw the tasks which this one did not. `median`, `low`, `high` and Wilcoxon's `p_value` are of the
    held-out tasks; `gap` is how far they lie above the seen ones (Hodges-Lehmann), with its interval and the
    Mann-Whitney test. Empty where nothing was held out.
    """
    rows = [
        head | {"layer": layer} | _contrast(held_out[layer].to_numpy(float), seen[layer].to_numpy(float))
        for head, held_out, seen in _contrasts(curves, baseline)
        for layer in held_out
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return adjusted(table, ["experimental", "other", "estimator"], "q_value", "gap_q_value")


def unseen_overall(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the same for each task's mean over layers: one row per (experimental, other, estimator)."""
    rows: list[dict[str, object]] = []
    for head, *parts in _contrasts(curves, baseline):
        means = (differences.mean(axis=1, skipna=False).to_numpy(float) for differences in parts)
        rows.append(head | _contrast(*means))
    return pd.DataFrame(rows, columns=OVERALL_COLUMNS)


def _contrasts(curves: pd.DataFrame, baseline: str) -> Iterator[tuple[dict[str, object], pd.DataFrame, pd.DataFrame]]:
    """Yield which models are compared, and the differences `[T, L]` on held-out and on seen tasks."""
    own = curves[curves["relation"] == "control"]
    models = [str(name) for name in own["experimental"].unique()]
    saw = {model: populations(curves, model) for model in models}
    for experimental in models:
        held_out = set(saw[experimental].get("held_out", ()))
        for other in models if held_out else ():
            common = held_out & set(saw[other].get("seen", saw[other]["all"]))
            if other == experimental or not common:
                continue
            both = set(saw[experimental].get("seen", ())) & set(saw[other].get("seen", saw[other]["all"]))
            for estimator in own.loc[own["experimental"] == other, "estimator"].unique():
                differences = paired_differences(curves, experimental, other, estimator)
                if len(differences.columns) and (other == baseline or differences.notna().any(axis=None)):
                    head: dict[str, object] = {"experimental": experimental, "other": other, "estimator": estimator}
                    tasks = differences.index
                    yield head, differences[tasks.isin(common)], differences[tasks.isin(both)]


def _contrast(ours: Floats, others: Floats) -> dict[str, object]:
    ours, others = ours[~np.isnan(ours)], others[~np.isnan(others)]
    row = over_tasks(ours) | {"seen_tasks": len(others)}
    if len(ours) and len(others):
        gap, (low, high), p_value = shift(ours, others)
        row |= {"seen_median": np.median(others), "gap": gap, "gap_low": low, "gap_high": high, "gap_p_value": p_value}
    return row
