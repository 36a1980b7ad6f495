"""Dose: a control that saw few steps stays near the base, and E, trained longer, drifts from everybody."""

from __future__ import annotations

import pandas as pd

COLUMNS = [
    "reference",
    "task",
    "cluster",
    "seed",
    "steps",
    "epochs",
    "examples",
    "target_tokens",
    "stopped_because",
    "update_norm",
    "relative_update",
    "distance",
    "learned",
    "estimator",
    "base_similarity",
]
READING_COLUMNS = [
    "experimental",
    "task",
    "cluster",
    "held_out",
    "estimator",
    "difference",
    "ceiling",
    "share",
    "base_share",
    "shift_estimator",
    "shift",
    "shift_others",
    "shift_ceiling",
    "shift_share",
    "paper_says",
    "shift_says",
    "agree",
    "reason",
]


def dose(
    curves: pd.DataFrame,
    similarity: pd.DataFrame,
    adapters: pd.DataFrame,
    spectrum: pd.DataFrame,
    controls: pd.DataFrame,
    baseline: str,
) -> pd.DataFrame:
    """Return, per (control, estimator), its dose beside the base's similarity to it; see `COLUMNS`.

    `distance` and `base_similarity` are means over layers; `update_norm` is a Frobenius norm.
    """
    return pd.DataFrame(columns=COLUMNS)


def dose_readings(curves: pd.DataFrame, baseline: str, estimator: str) -> pd.DataFrame:
    """Return, per (experimental, task), the paper's reading beside the dose-controlled ones; see `READING_COLUMNS`.

    All are means over layers. `difference` is E minus base (the paper's); `share` and `base_share` are shares of the
    ceiling; `shift` is the similarity of E's and the control's changes from the base, `shift_others` the same against
    controls of other tasks. `paper_says` and `shift_says` are `closer` or `not closer`; `agree` compares them.
    """
    return pd.DataFrame(columns=READING_COLUMNS)
