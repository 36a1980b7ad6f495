"""What the base already had (RQ1): how close it is to each control, as a share of what a second control reaches."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.bootstrap import interval
from mossa.analysis.significance import adjust

DRAWS = 2000

READING = [
    "value",
    "standard_error",
    "low",
    "high",
    "ceiling",
    "ceiling_error",
    "share",
    "share_low",
    "share_high",
    "other_controls",
    "above_others",
]
RANKING = ["rank", "rank_low", "rank_high", "p_value", "q_value"]
RIVALS = ["base_loss", "loss_drop", "steps", "distance"]
COLUMNS = ["task", "cluster", "estimator", "layers", *READING, *RANKING, *RIVALS, "reason"]
LAYER_COLUMNS = ["task", "cluster", "layer", "estimator", *READING, "reason"]
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
]


def encoded_layers(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (task, layer, estimator), the base's similarity to the control; see `LAYER_COLUMNS`.

    `ceiling` is the similarity of two controls of the task with different seeds; `share` is `value / ceiling` with an
    interval by the delta method (taking the two as independent); `other_controls` is the mean similarity to controls
    of other tasks on the same prompts and `above_others` is `value` minus it. Null where the run has none, and `share`
    also where the ceiling is not above zero.
    """
    key = ["task", "layer", "estimator"]
    base = curves[(curves["experimental"] == baseline) & (curves["relation"] == "control")]
    ceiling = curves[curves["relation"] == "ceiling"].rename(
        columns={"value": "ceiling", "standard_error": "ceiling_error"}
    )
    others = curves[(curves["experimental"] == baseline) & (curves["relation"] == "other_control")]
    table = base.merge(ceiling[[*key, "ceiling", "ceiling_error"]], on=key, how="left").merge(
        others.rename(columns={"value": "other_controls"})[[*key, "other_controls"]], on=key, how="left"
    )
    return _with_share(table).reindex(columns=LAYER_COLUMNS)


def _with_share(table: pd.DataFrame) -> pd.DataFrame:
    ceiling = table["ceiling"].where(table["ceiling"] > 0)
    share = table["value"] / ceiling
    error = np.hypot(table["standard_error"], share * table["ceiling_error"]) / ceiling
    return table.assign(
        share=share,
        share_low=share - 1.96 * error,
        share_high=share + 1.96 * error,
        above_others=table["value"] - table["other_controls"],
    )


def encoded(
    layers: pd.DataFrame, controls: pd.DataFrame, adapters: pd.DataFrame, spectrum: pd.DataFrame
) -> pd.DataFrame:
    """Return, per (task, estimator), the mean over layers of `encoded_layers`, ranked; see `COLUMNS`.

    Rank 1 is the most encoded task: by `share` if every ranked task has one, else by `value`. Standard errors are means
    over layers, which no correlation between layers can exceed. `rank_low` and `rank_high` hold the rank in 95 % of
    normal draws. `p_value` asks whether the base is as close as a second control (two-sided); `q_value` is
    Benjamini-Hochberg over tasks. `base_loss`, `loss_drop`, `steps` and `distance` (control from base) are the simple
    rivals of this reading. Only layers where value, and ceiling if the task has any, are defined enter the means.
    """
    measures = ["value", "standard_error", "ceiling", "ceiling_error", "other_controls"]
    rows: list[dict[str, object]] = []
    for (task, cluster, estimator), group in layers.groupby(["task", "cluster", "estimator"], sort=False):
        used = group[group["value"].notna() & (group["ceiling"].notna() | bool(group["ceiling"].isna().all()))]
        row: dict[str, object] = {"task": task, "cluster": cluster, "estimator": estimator, "layers": len(used)}
        row |= {name: used[name].mean() for name in measures}
        if used.empty:
            row["reason"] = next(iter(group["reason"].dropna()), "no layer has both a similarity and its ceiling")
        rows.append(row)
    table = _with_share(pd.DataFrame(rows, columns=["task", "cluster", "estimator", "layers", *measures, "reason"]))
    table["low"] = table["value"] - 1.96 * table["standard_error"]
    table["high"] = table["value"] + 1.96 * table["standard_error"]
    both = (table["standard_error"] ** 2 + table["ceiling_error"] ** 2) ** 0.5
    z = (table["value"] - table["ceiling"]).abs() / both.where(both > 0)
    table["p_value"] = 2 * stats.norm.sf(z.to_numpy(float))
    table = table.merge(_rivals(controls, adapters, spectrum), on="task", how="left")
    if len(table):
        table["q_value"] = table.groupby("estimator")["p_value"].transform(adjust)
        table = pd.concat([_ranked(group) for _, group in table.groupby("estimator", sort=False)], ignore_index=True)
    return table.reindex(columns=COLUMNS)


def _rivals(controls: pd.DataFrame, adapters: pd.DataFrame, spectrum: pd.DataFrame) -> pd.DataFrame:
    """Return, per task, the base's loss and the mean drop in loss, steps and distance from the base of its controls."""
    usable = controls[~controls["learned"].eq(False).fillna(False)]
    distance = spectrum.groupby(["model", "task"])["distance"].mean().rename_axis(["reference", "task"]).reset_index()
    steps = adapters.rename(columns={"adapter": "reference"})[["reference", "steps"]]
    joined = usable.merge(steps, on="reference", how="left").merge(distance, on=["reference", "task"], how="left")
    return joined.groupby("task")[RIVALS].mean().reset_index()


def _ranked(group: pd.DataFrame) -> pd.DataFrame:
    """Rank the tasks of one estimator, 1 the highest, with the central 95 % of their ranks under their errors."""
    defined = group[group["value"].notna()]
    by_share = len(defined) > 0 and defined["share"].notna().all()
    centre = defined["share" if by_share else "value"].to_numpy(float)
    ranks = group.assign(rank=np.nan, rank_low=np.nan, rank_high=np.nan)
    ranks.loc[defined.index, "rank"] = stats.rankdata(-centre, method="min").astype(float)
    ends = defined[["share_high", "share_low"] if by_share else ["high", "low"]].to_numpy(float)
    error = (ends[:, 0] - ends[:, 1]) / (2 * 1.96)
    if len(defined) and np.isfinite(error).all():
        draws = centre + error * np.random.default_rng(0).standard_normal((DRAWS, len(centre)))
        ends = np.quantile(stats.rankdata(-draws, axis=1, method="min"), [0.025, 0.975], axis=0, method="nearest")
        ranks.loc[defined.index, ["rank_low", "rank_high"]] = ends.T
    return ranks


def encoded_clusters(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return, per (cluster, estimator), the mean over tasks with a bootstrap interval; see `CLUSTER_COLUMNS`.

    `rank` 1 is the most encoded cluster, by `share` if every cluster has one, else by `value`. Intervals are null for
    clusters of fewer than 3 tasks.
    """
    rows: list[dict[str, object]] = []
    for (cluster, estimator), group in tasks.groupby(["cluster", "estimator"], sort=False):
        values, shares = (group[name].dropna().to_numpy(float) for name in ("value", "share"))
        row: dict[str, object] = {"cluster": cluster, "estimator": estimator, "tasks": len(values)}
        row |= {"undefined": len(group) - len(values), "value": np.mean(values) if len(values) else np.nan}
        row |= {"share": np.mean(shares) if len(shares) else np.nan}
        row |= dict(zip(("low", "high"), interval(values, np.mean), strict=True))
        row |= dict(zip(("share_low", "share_high"), interval(shares, np.mean), strict=True))
        rows.append(row)
    table = pd.DataFrame(rows, columns=CLUSTER_COLUMNS)
    for _, group in table.groupby("estimator"):
        by = "share" if group.loc[group["value"].notna(), "share"].notna().all() else "value"
        table.loc[group.index, "rank"] = group[by].astype(float).rank(ascending=False, method="min")
    return table
