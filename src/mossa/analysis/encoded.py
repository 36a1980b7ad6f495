"""What the base already had (RQ1): how close it is to each control, compared with the agreement of two controls and a
sham.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.controls import failed
from mossa.analysis.over_tasks import adjusted, interval
from mossa.similarity.agreement import share_of_agreement

DRAWS = 2000

MEASURES = ["value", "standard_error", "agreement", "agreement_error", "sham", "sham_error", "other_controls"]
READING = [
    "value", "standard_error", "low", "high", "agreement", "agreement_error", "share", "share_low", "share_high",
    "sham", "above_sham", "above_sham_low", "above_sham_high", "other_controls",
]  # fmt: skip
RANKING = ["rank", "rank_low", "rank_high", "p_value", "q_value"]
RIVALS = ["base_loss", "loss_drop", "steps", "distance"]
COLUMNS = ["task", "cluster", "estimator", "layers", *READING, *RANKING, *RIVALS, "reason"]
LAYER_COLUMNS = ["task", "cluster", "layer", "estimator", *READING, "reason"]
CLUSTER_COLUMNS = ["cluster", "estimator", "tasks", "undefined", "value", "low", "high", "rank"]


def encoded_layers(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (task, layer, estimator), the base's similarity to the control; see `LAYER_COLUMNS`.

    `agreement` is the similarity of two controls of the task with different seeds; `share` is computed from both by
    `similarity.agreement`, with an interval by the delta method (which assumes that the two are independent). `sham` is
    the base's similarity to a control trained on shuffled answers, `above_sham` is `value` minus it. `other_controls`
    is the similarity to controls of other tasks, which hardly move on these prompts, so it does not estimate chance.
    Each is null where the run has no such controls, and `share` also where the agreement is too low.
    """
    key = ["task", "layer", "estimator"]
    of_base = curves["experimental"] == baseline
    table = curves[of_base & (curves["relation"] == "control")]
    for name, rows in {
        "agreement": curves["relation"] == "ceiling",
        "sham": of_base & (curves["relation"] == "sham"),
        "other_controls": of_base & (curves["relation"] == "other_control"),
    }.items():
        beside = curves[rows].rename(columns={"value": name, "standard_error": f"{name}_error"})
        table = table.merge(beside[[*key, name, f"{name}_error"]], on=key, how="left")
    return _read(table).reindex(columns=[*LAYER_COLUMNS, "sham_error"])


def _read(table: pd.DataFrame) -> pd.DataFrame:
    """Add the share of the agreement and the distance above the sham control, with their intervals."""
    value, error, agreement = (table[name].astype(float) for name in ("value", "standard_error", "agreement"))
    share = pd.Series(share_of_agreement(value, agreement), table.index)
    known = agreement.where(share.notna())
    of_agreement = value / known / 2 * table["agreement_error"].astype(float)
    share_error = pd.Series(np.hypot(error, of_agreement) / np.sqrt(known), table.index)
    above = value - table["sham"].astype(float)
    above_error = np.hypot(error, table["sham_error"].astype(float))
    table = table.assign(share=share, share_error=share_error, above_sham=above)
    numbers = {"": (value, error), "share_": (share, share_error), "above_sham_": (above, above_error)}
    for name, (middle, spread) in numbers.items():
        table[f"{name}low"], table[f"{name}high"] = middle - 1.96 * spread, middle + 1.96 * spread
    return table


def encoded(layers: pd.DataFrame, dosed: pd.DataFrame) -> pd.DataFrame:
    """Return, per (task, estimator), the mean over layers of `encoded_layers`, ranked; see `COLUMNS`.

    Rank 1 is the task with the highest `value`. Standard errors are means over layers: an upper bound, whatever the
    correlation between layers. `rank_low` and `rank_high` hold the rank in 95 % of normal draws. `p_value` asks whether
    the share of the agreement is 1 (two-sided); `q_value` is Benjamini-Hochberg over tasks. `base_loss`, `loss_drop`,
    `steps` and `distance` (control from base), means over controls, are the simple rivals of this reading. Means are
    over the layers where the value is defined, and the agreement too if the task has any.
    """
    rows: list[dict[str, object]] = []
    for (task, cluster, estimator), group in layers.groupby(["task", "cluster", "estimator"], sort=False):
        used = group[group["value"].notna() & (group["agreement"].notna() | bool(group["agreement"].isna().all()))]
        row: dict[str, object] = {"task": task, "cluster": cluster, "estimator": estimator, "layers": len(used)}
        row |= {name: used[name].mean() for name in MEASURES}
        if used.empty:
            row["reason"] = next(iter(group["reason"].dropna()), "no layer has both a similarity and an agreement")
        rows.append(row)
    table = _read(pd.DataFrame(rows, columns=["task", "cluster", "estimator", "layers", *MEASURES, "reason"]))
    z = (table["share"] - 1).abs() / table["share_error"].where(table["share_error"] > 0)
    table["p_value"] = 2 * stats.norm.sf(z.to_numpy(float))
    rivals = dosed[~failed(dosed)].groupby("task")[RIVALS].mean().reset_index()
    table = adjusted(table.merge(rivals, on="task", how="left"), ["estimator"], "q_value")
    if len(table):
        table = pd.concat([_ranked(group) for _, group in table.groupby("estimator", sort=False)], ignore_index=True)
    return table.reindex(columns=COLUMNS)


def _ranked(group: pd.DataFrame) -> pd.DataFrame:
    """Rank the tasks of one estimator, 1 the highest, with the central 95 % of their ranks under their errors."""
    defined = group[group["value"].notna()]
    centre, error = (defined[name].to_numpy(float) for name in ("value", "standard_error"))
    ranks = group.assign(rank=np.nan, rank_low=np.nan, rank_high=np.nan)
    ranks.loc[defined.index, "rank"] = stats.rankdata(-centre, method="min").astype(float)
    if len(defined) and np.isfinite(error).all():
        draws = centre + error * np.random.default_rng(0).standard_normal((DRAWS, len(centre)))
        ends = np.quantile(stats.rankdata(-draws, axis=1, method="min"), [0.025, 0.975], axis=0, method="nearest")
        ranks.loc[defined.index, ["rank_low", "rank_high"]] = ends.T
    return ranks


def encoded_clusters(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return, per (cluster, estimator), the median over tasks with its interval; see `CLUSTER_COLUMNS`.

    `rank` 1 is the cluster with the highest median, null unless every cluster has an interval (6 tasks or more).
    """
    rows: list[dict[str, object]] = []
    for (cluster, estimator), group in tasks.groupby(["cluster", "estimator"], sort=False):
        values = group["value"].dropna().to_numpy(float)
        row: dict[str, object] = {"cluster": cluster, "estimator": estimator, "tasks": len(values)}
        row |= {"undefined": len(group) - len(values), "value": np.median(values) if len(values) else np.nan}
        rows.append(row | interval(values)._asdict())
    table = pd.DataFrame(rows, columns=CLUSTER_COLUMNS).astype({"rank": float})
    for _, group in table.groupby("estimator"):
        if group["low"].notna().all():
            table.loc[group.index, "rank"] = group["value"].rank(ascending=False, method="min")
    return table
