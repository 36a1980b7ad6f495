"""Which controls learned their task: a similarity to one that did not means nothing."""

from __future__ import annotations

import pandas as pd

RELATIVE_DROP = 0.05
KNOWN_LOSS = 0.1

COLUMNS = [
    "reference",
    "task",
    "cluster",
    "seed",
    "loss",
    "base_loss",
    "loss_drop",
    "relative_drop",
    "accuracy",
    "base_accuracy",
    "stopped_because",
    "learned",
    "rule",
    "reason",
]

RULE = f"test loss at least {RELATIVE_DROP:.0%} below the base's, or at most {KNOWN_LOSS} nats per target token"


def judge_controls(
    similarity: pd.DataFrame, evaluation: pd.DataFrame, adapters: pd.DataFrame, baseline: str
) -> pd.DataFrame:
    """Return one row per control adapter: did it learn its task (`learned` true, false, or null with a `reason`)?

    The rule: its loss on the test set of its own task is at least 5 % below the base's, or is at most 0.1 nats per
    target token (the task is known, whoever taught it). Without both losses nothing is decided and nothing left out.
    The paper has no such rule; but a control that cannot learn stays near the base and makes its task look encoded.
    """
    own = similarity.loc[similarity["relation"] == "control", ["reference", "task"]]
    trained = adapters.loc[adapters["role"] == "control"].rename(columns={"adapter": "reference"})
    pairs = pd.concat([trained[["reference", "task"]], own]).drop_duplicates(ignore_index=True)
    losses = evaluation[["model", "task", "loss", "accuracy"]]
    base = losses[losses["model"] == baseline].drop(columns="model")
    base = base.rename(columns={"loss": "base_loss", "accuracy": "base_accuracy"})
    table = (
        pairs.merge(losses.rename(columns={"model": "reference"}), on=["reference", "task"], how="left")
        .merge(base, on="task", how="left")
        .merge(trained[["reference", "seed", "stopped_because"]], on="reference", how="left")
    )
    table["cluster"] = table["task"].map(_clusters(similarity, evaluation))
    table["loss_drop"] = table["base_loss"] - table["loss"]
    table["relative_drop"] = table["loss_drop"] / table["base_loss"].where(table["base_loss"] > 0)
    table["rule"] = RULE
    verdicts = [_verdict(loss, base) for loss, base in zip(table["loss"], table["base_loss"], strict=True)]
    table["learned"] = pd.Series([v[0] for v in verdicts], dtype="boolean")
    table["reason"] = pd.Series([v[1] for v in verdicts], dtype="object")
    return table[COLUMNS].sort_values(["task", "reference"], ignore_index=True)


def _verdict(loss: float, base_loss: float) -> tuple[bool | None, str | None]:
    if pd.isna(loss):
        return None, "this control was not evaluated on its own task"
    if loss <= KNOWN_LOSS:
        return True, None
    if pd.isna(base_loss):
        return None, "the base was not evaluated on this task"
    if loss <= (1 - RELATIVE_DROP) * base_loss:
        return True, None
    return False, f"test loss {loss:.3f} against the base's {base_loss:.3f} nats per target token"


def _clusters(*tables: pd.DataFrame) -> dict[str, str]:
    both = pd.concat([table[["task", "cluster"]] for table in tables])
    return dict(zip(both["task"], both["cluster"], strict=True))
