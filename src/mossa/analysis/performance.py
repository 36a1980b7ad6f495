"""Whether tuning helped or hurt: exact match and loss of base, tuned model and specialist on the test sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.over_tasks import interval

COLUMNS = [
    "experimental", "task", "cluster", "held_out", "n",
    *(f"{model}_{what}" for what in ("accuracy", "loss") for model in ("base", "tuned", "control")), "gain", "low",
    "high",
]  # fmt: skip
SUMMARY_COLUMNS = [
    "experimental", "held_out", "tasks", *COLUMNS[5:11], "gain", "median", "low", "high", "worse", "surely_worse",
]  # fmt: skip


def performance(evaluation: pd.DataFrame, controls: pd.DataFrame, curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return one row per (tuned model, task): exact match and loss of base, model and controls; see `COLUMNS`.

    `gain` is the exact match of the tuned model minus the base's; `low`, `high` its 95 % interval by Newcombe's method
    for independent samples, which is too wide for the same prompts. Controls are averaged over their seeds.
    """
    experimental = evaluation[(evaluation["model"] != baseline) & (evaluation["role"] == "experimental")]
    held_out = curves[curves["relation"] == "control"].drop_duplicates(["experimental", "task"])
    base = evaluation[evaluation["model"] == baseline].drop_duplicates("task").set_index("task")
    specialists = controls.groupby("task")[["accuracy", "loss"]].mean()
    table = experimental.rename(columns={"model": "experimental", "accuracy": "tuned_accuracy", "loss": "tuned_loss"})
    for what in ("accuracy", "loss"):
        # astype: for no rows, pandas makes a column of text
        table[f"base_{what}"] = table["task"].map(base[what]).astype(float)
        table[f"control_{what}"] = table["task"].map(specialists[what]).astype(float)
    table = table.merge(held_out[["experimental", "task", "held_out"]], on=["experimental", "task"], how="left")
    table["held_out"] = table["held_out"].eq(True)
    table["gain"] = table["tuned_accuracy"] - table["base_accuracy"]
    low, high = newcombe(*(table[name].to_numpy(float) for name in ("tuned_accuracy", "base_accuracy", "n")))
    return table.assign(low=low, high=high)[COLUMNS].sort_values(["experimental", "task"], ignore_index=True)


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's 95 % interval of a share among `n`."""
    z = stats.norm.ppf(0.975)
    centre, half = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


def newcombe(one: np.ndarray, other: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Newcombe's 95 % interval (1998, method 10) of the difference of two shares among `n` each."""
    (low_1, high_1), (low_2, high_2) = wilson(one, n), wilson(other, n)
    down, up = np.hypot(one - low_1, high_2 - other), np.hypot(high_1 - one, other - low_2)
    return one - other - down, one - other + up


def performance_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over tasks, per tuned model, with held-out tasks in separate rows; see `SUMMARY_COLUMNS`.

    `median` is that of `gain` over tasks, `low`, `high` its interval (null below 6 tasks); means have none.
    `worse` counts tasks with a lower exact match than the base's, `surely_worse` those whose interval excludes zero.
    """
    rows: list[dict[str, object]] = []
    for (model, held_out), part in table.groupby(["experimental", "held_out"], sort=False):
        known = part.dropna(subset=["gain"])
        low, high = interval(known["gain"].to_numpy(float))
        row: dict[str, object] = {"experimental": model, "held_out": held_out, "tasks": len(known)}
        means = (known if len(known) else part)[COLUMNS[5:11]].astype(float).mean()
        row |= {str(name): mean for name, mean in means.items()}
        row |= {"gain": known["gain"].mean(), "median": known["gain"].median(), "low": low, "high": high}
        row |= {"worse": int((known["gain"] < 0).sum()), "surely_worse": int((known["high"] < 0).sum())}
        rows.append(row)
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
