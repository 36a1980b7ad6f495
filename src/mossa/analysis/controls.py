"""Which models learned which task: a similarity to a control that did not learn means nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple

import pandas as pd

from mossa.study.schema import StudySettings

KNOWN_LOSS = 0.1

JUDGED = ["loss", "base_loss", "loss_drop", "relative_drop", "accuracy", "base_accuracy"]
COLUMNS = ["reference", "task", "cluster", "seed", *JUDGED, "stopped_because", "learned", "rule", "reason"]
TUNED_COLUMNS = ["model", "task", "cluster", "held_out", *JUDGED, "learned", "rule", "reason"]


class Bar(NamedTuple):
    """What counts as having learned a task, measured on its test set.

    `relative_drop`: the loss is lower than the base's by this share (or at most 0.1 nats per target token: the task is
    known already). `loss`: at most this many nats per target token. `exact_match`: at least this share of examples.
    """

    metric: Literal["relative_drop", "loss", "exact_match"] = "relative_drop"
    value: float = 0.05
    criterion: bool = False

    @property
    def rule(self) -> str:
        """Return the bar as words."""
        words = {
            "relative_drop": f"test loss at least {self.value:.0%} below the base's, or at most {KNOWN_LOSS} nats per "
            "target token",
            "loss": f"test loss at most {self.value:g} nats per target token",
            "exact_match": f"exact match on the test set at least {self.value:g}",
        }[self.metric]
        return words + (", or training stopped by its own criterion" if self.criterion else "")


DEFAULT = Bar()


def bar_of(study: StudySettings) -> Bar:
    """Return the bar that a study sets: its own, else the criterion of the controls' budget, else 5 % less loss."""
    learned, criterion = study.bar
    return Bar(learned.metric, learned.value, criterion)


def failed(judged: pd.DataFrame) -> pd.Series:
    """Return whether each row of `judged` is known not to have learned its task; unknown counts as learned."""
    return judged["learned"].eq(False).fillna(False).astype(bool)


def judge_controls(
    similarity: pd.DataFrame, evaluation: pd.DataFrame, adapters: pd.DataFrame, baseline: str, bar: Bar = DEFAULT
) -> pd.DataFrame:
    """Return one row per control adapter: did it learn its task (`learned` true, false, or null with a `reason`)?

    If the losses that the bar needs are missing, nothing is decided and nothing is left out. The paper has no such
    rule, but a control that did not learn stays near the base and makes its task look encoded.
    """
    own = similarity.loc[similarity["relation"] == "control", ["reference", "task"]]
    trained = adapters.loc[adapters["role"] == "control"].rename(columns={"adapter": "reference"})
    pairs = pd.concat([trained[["reference", "task"]], own]).drop_duplicates(ignore_index=True)
    pairs = pairs.merge(trained[["reference", "seed", "stopped_because"]], on="reference", how="left")
    pairs["cluster"] = pairs["task"].map(_clusters(similarity, evaluation))
    table = _judged(pairs.rename(columns={"reference": "model"}), evaluation, baseline, bar)
    return table.rename(columns={"model": "reference"})[COLUMNS].sort_values(["task", "reference"], ignore_index=True)


def judge_tuned(similarity: pd.DataFrame, evaluation: pd.DataFrame, baseline: str, bar: Bar) -> pd.DataFrame:
    """Return one row per (experimental model, task) by the same bar; see `TUNED_COLUMNS`."""
    own = similarity[(similarity["relation"] == "control") & (similarity["experimental"] != baseline)]
    pairs = own.rename(columns={"experimental": "model"})[["model", "task", "cluster", "held_out"]].drop_duplicates()
    table = _judged(pairs.assign(stopped_because=None), evaluation, baseline, bar)
    return table[TUNED_COLUMNS].sort_values(["model", "task"], ignore_index=True)


def _judged(pairs: pd.DataFrame, evaluation: pd.DataFrame, baseline: str, bar: Bar) -> pd.DataFrame:
    """Return `pairs` (model, task, stopped_because) with what each learned of its task."""
    measured = evaluation[["model", "task", "loss", "accuracy"]]
    base = measured[measured["model"] == baseline].drop(columns="model")
    base = base.rename(columns={"loss": "base_loss", "accuracy": "base_accuracy"})
    table = pairs.merge(measured, on=["model", "task"], how="left").merge(base, on="task", how="left")
    table["loss_drop"] = table["base_loss"] - table["loss"]
    table["relative_drop"] = table["loss_drop"] / table["base_loss"].where(table["base_loss"] > 0)
    table["rule"] = bar.rule
    verdicts = [_verdict(row, bar) for _, row in table.iterrows()]
    table["learned"] = pd.Series([learned for learned, _ in verdicts], table.index, dtype="boolean")
    table["reason"] = pd.Series([reason for _, reason in verdicts], table.index, dtype="object")
    return table


def _verdict(row: pd.Series, bar: Bar) -> tuple[bool | None, str | None]:
    if bar.criterion and row["stopped_because"] == "criterion":
        return True, None
    measured = row["accuracy"] if bar.metric == "exact_match" else row["loss"]
    if pd.isna(measured):
        return None, "it was not evaluated on this task"
    if bar.metric == "exact_match":
        learned, what = measured >= bar.value, f"exact match {measured:.3f} of the {bar.value:g} asked for"
    elif bar.metric == "loss":
        learned = measured <= bar.value
        what = f"test loss {measured:.3f} nats per target token, {bar.value:g} asked for"
    elif pd.isna(row["base_loss"]) and measured > KNOWN_LOSS:
        return None, "the base was not evaluated on this task"
    else:
        learned = measured <= max(KNOWN_LOSS, (1 - bar.value) * row["base_loss"])
        what = f"test loss {measured:.3f} against the base's {row['base_loss']:.3f} nats per target token"
    return bool(learned), None if learned else what


def _clusters(*tables: pd.DataFrame) -> dict[str, str]:
    both = pd.concat([table[["task", "cluster"]] for table in tables])
    return dict(zip(both["task"], both["cluster"], strict=True))
