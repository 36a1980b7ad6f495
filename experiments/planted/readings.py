"""What each reading says of tasks of which it is known whether the base was taught them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mossa.analysis.controls import judge_controls
from mossa.similarity.agreement import share_of_agreement
from mossa.study.schema import BASE

DEBIASED, PLAIN, WITHIN = "cka-linear-debiased", "cka-linear", "cka-linear-within-debiased"
SHIFT = f"shift-{DEBIASED}"
PRIMARY = "debiased"
# What should be higher where a task is planted; what should be lower is turned round.
READINGS = (
    "debiased",
    "plain",
    "within-template",
    "share of agreement",
    "own minus other",
    "shift",
    "shift, own minus other",
)
RIVALS = ("base loss", "drop in loss", "weights travelled", "representations travelled", "steps to criterion")
TURNED = frozenset({"shift", "shift, own minus other", *RIVALS})
KEY = ["base", "task", "seed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Tables of runs on bases of which it is known what they were taught.

    `tables`: base → the tables of its run. `planted`: base → the tasks that it was taught. `layers`: those that count.
    `accuracy`: what a control must reach on its test set to be read.
    """

    tables: Mapping[str, Mapping[str, pd.DataFrame]]
    planted: Mapping[str, Sequence[str]]
    layers: Sequence[int]
    accuracy: float = 0.8


def controls(trial: Trial) -> pd.DataFrame:
    """Return one row per (base, task, seed): what the control learned and what it cost, and whether it `counts`.

    Losses are in nats per target token. A control counts if its accuracy on the test set of its task is enough.
    """
    found: list[pd.DataFrame] = []
    for base, tables in trial.tables.items():
        judged = judge_controls(tables["similarity"], tables["evaluation"], tables["adapters"], BASE)
        cost = tables["adapters"].rename(columns={"adapter": "reference"})
        judged = judged.merge(cost[["reference", "steps", "update_norm"]], on="reference")
        judged["planted"] = judged["task"].isin(trial.planted[base])
        found.append(judged.assign(base=base))
    table = pd.concat(found, ignore_index=True)
    table["counts"] = table["accuracy"].ge(trial.accuracy)
    columns = [
        "planted",
        "base_loss",
        "loss",
        "loss_drop",
        "base_accuracy",
        "accuracy",
        "steps",
        "update_norm",
        "counts",
    ]
    return table[[*KEY, "cluster", "reference", *columns]]


def readings(trial: Trial, judged: pd.DataFrame) -> pd.DataFrame:
    """Return every reading and rival: one row per (base, task, seed, layer, reading), with its `value` and `score`.

    `score` is the value, turned round where less speaks for a planted task, so that a higher score always does. Only
    controls that count, in every one of the bases that share a seed, are read. Rivals that have no layers have the
    same value at each.
    """
    parts = [_of_base(tables, judged[judged["base"] == base]) for base, tables in trial.tables.items()]
    table = pd.concat(parts, ignore_index=True).merge(judged[[*KEY, "planted", "cluster"]], on=KEY)
    table = table[~_excluded(table, judged)].dropna(subset="value")
    sign = table["reading"].isin(TURNED).map({True: -1.0, False: 1.0})
    return table.assign(score=sign * table["value"]).reset_index(drop=True)


def excluded(judged: pd.DataFrame, between: Sequence[str]) -> pd.DataFrame:
    """Return the (task, seed) left out because a control of one of the bases `between` does not count, with why."""
    failed = judged[judged["base"].isin(between) & ~judged["counts"]]
    return failed[["task", "seed", "base", "planted", "accuracy", "steps"]].sort_values(["task", "seed"])


def risen(trial: Trial, judged: pd.DataFrame) -> pd.DataFrame:
    """Return CKA(E, control) - CKA(base, control), debiased, mean over seeds, per (base, task, layer) that counts."""
    parts: list[pd.DataFrame] = []
    for base, tables in trial.tables.items():
        rows = tables["similarity"].merge(judged.loc[judged["base"] == base, ["reference", "counts", "planted"]])
        rows = rows[rows["counts"] & rows["relation"].eq("control") & rows["estimator"].eq(DEBIASED)]
        means = rows.groupby(["task", "planted", "layer", rows["experimental"].eq(BASE)])["value"].mean().unstack()
        means = means.reindex(columns=[True, False])  # no E, no difference
        parts.append((means[False] - means[True]).rename("difference").reset_index().assign(base=base))
    return pd.concat(parts, ignore_index=True).dropna(subset="difference")


def task_values(table: pd.DataFrame, layers: Sequence[int] | None = None) -> pd.DataFrame:
    """Return the mean `value` and `score` over seeds and `layers` (all by default) per (reading, base, task)."""
    chosen = table if layers is None else table[table["layer"].isin(layers)]
    keys = ["reading", "base", "task", "planted"]
    return chosen.groupby(keys, sort=False)[["value", "score"]].mean().reset_index()


def _excluded(table: pd.DataFrame, judged: pd.DataFrame) -> pd.Series:
    """Tell which rows belong to a (task, seed) of which any base's control of the same group of bases fails.

    Bases with complementary halves are compared task by task, so they stand and fall together; others alone.
    """
    halves = {base for base, part in judged.groupby("base") if 0 < part["planted"].mean() < 1}
    failed = judged.loc[~judged["counts"], KEY]
    together = {(task, seed) for base, task, seed in failed.itertuples(index=False) if base in halves}
    alone = set(failed.itertuples(index=False, name=None))
    rows = table[KEY].itertuples(index=False, name=None)
    return pd.Series(
        [(base, task, seed) in alone or (base in halves and (task, seed) in together) for base, task, seed in rows],
        index=table.index,
    )


def _of_base(tables: Mapping[str, pd.DataFrame], judged: pd.DataFrame) -> pd.DataFrame:
    similarity = tables["similarity"].merge(judged[["reference", "seed", "counts"]], on="reference", how="left")
    tuned = [name for name in similarity["experimental"].unique() if name not in (BASE, "control")]

    def mean(relation: str, estimator: str, models: Sequence[str], *keys: str) -> pd.Series:
        rows = similarity[similarity["relation"].eq(relation) & similarity["estimator"].eq(estimator)]
        if relation == "other_control":
            rows = rows[rows["counts"].eq(True)]
        return rows[rows["experimental"].isin(models)].groupby(["task", *keys, "layer"])["value"].mean()

    debiased = mean("control", DEBIASED, [BASE], "seed")
    shift = mean("control", SHIFT, tuned, "seed")
    found = {
        "debiased": debiased,
        "plain": mean("control", PLAIN, [BASE], "seed"),
        "within-template": mean("control", WITHIN, [BASE], "seed"),
        "share of agreement": _share(debiased, mean("ceiling", DEBIASED, ["control"])),
        "own minus other": _minus(debiased, mean("other_control", DEBIASED, [BASE])),
        "shift": shift,
        "shift, own minus other": _minus(shift, mean("other_control", SHIFT, tuned)),
        **_rivals(tables["spectrum"], judged, debiased),
    }
    rows = [series.rename("value").reset_index().assign(reading=name) for name, series in found.items()]
    return pd.concat(rows, ignore_index=True).assign(base=judged["base"].iloc[0])


def _rivals(spectrum: pd.DataFrame, judged: pd.DataFrame, like: pd.Series) -> dict[str, pd.Series]:
    """Return what a sceptic would read instead, at every (task, seed, layer) of `like`."""
    travelled = spectrum.merge(
        judged[["reference", "task", "seed"]], left_on=["model", "task"], right_on=["reference", "task"]
    )
    columns = {"base loss": "base_loss", "drop in loss": "loss_drop", "weights travelled": "update_norm"}
    columns["steps to criterion"] = "steps"
    keys = ["task", "seed", "layer"]
    at_each = like.rename("like").reset_index().merge(judged, on=["task", "seed"]).set_index(keys)
    rivals = {name: at_each[column] for name, column in columns.items()}
    return {**rivals, "representations travelled": travelled.set_index(keys)["distance"]}


def _minus(values: pd.Series, other: pd.Series) -> pd.Series:
    """Subtract per (task, layer), whatever the seed."""
    by_seed = values.unstack("seed")
    minus: Any = by_seed.subtract(other.reindex(by_seed.index), axis=0).stack()
    return minus


def _share(values: pd.Series, agreement: pd.Series) -> pd.Series:
    """Return the share of the agreement of two controls per (task, layer); none where they hardly agree."""
    by_seed = values.unstack("seed")
    of = agreement.reindex(by_seed.index)
    shares: Any = by_seed.apply(lambda one: pd.Series(share_of_agreement(one, of), one.index)).stack()
    return shares.dropna()
