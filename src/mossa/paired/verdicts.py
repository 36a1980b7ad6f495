"""The verdict on each task: won, lost or unchanged, by paired tests on the same examples and one error rate over tasks.

An example counts once for both models, so only its difference matters. Under the null either model could have given
either answer: the sign of every difference is a coin. For exact match that is McNemar's exact test.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mossa.analysis.over_tasks import LEVEL, adjust
from mossa.place.estimates import CONFIDENCE, FEWEST, Floats, ratio

WON, LOST, UNCHANGED, UNDECIDABLE = "won", "lost", "unchanged", "not decidable"
EXACT, LOSS = "exact match", "loss"
DRAWS = 9_999  # random signs; more for many tasks, so that one alone can be significant among them
BLOCK = 1_000  # of which so many are in memory at a time
COLUMNS = [
    "model", "task", "cluster", "verdict", "measure", "p_value", "q_value", "n",
    "exact_before", "exact_after", "exact_change", "exact_low", "exact_high", "exact_p",
    "loss_before", "loss_after", "loss_change", "loss_low", "loss_high", "loss_p", "non_finite", "reason",
]  # fmt: skip


def judge(answers: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (model, task) with the columns `COLUMNS`.

    `answers`: the rows of `Reading.answers` with `model`, `task` and `cluster`. A task is judged by exact match if the
    base gets so many examples right that losing them all would be significant whatever happens to the other tasks, else
    by loss. `q_value` is Benjamini and Hochberg's over the tasks of a model; changes are after minus before, with 95 %
    intervals that are not adjusted for the number of tasks. `not decidable` says that no outcome could have been
    significant.
    """
    parts = [_of_model(str(model), part) for model, part in answers.groupby("model", sort=False)]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def forgotten(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return the tasks that the last model lost and, in the order of training, since which model they were lost.

    Columns `task`, `since`, `verdict_before`: of the model before that one, null if there is none.
    """
    order = list(dict.fromkeys(tasks["model"]))
    table = tasks.pivot(index="task", columns="model", values="verdict")[order] if order else pd.DataFrame()
    rows: list[tuple[int, dict[str, Any]]] = []
    for task, verdicts in table.iterrows():
        given = list(verdicts)
        kept = [place for place, verdict in enumerate(given) if verdict != LOST]
        first = kept[-1] + 1 if kept else 0
        if first < len(order):
            row = {"task": task, "since": order[first], "verdict_before": given[first - 1] if first else None}
            rows.append((first, row))
    found = [row for _, row in sorted(rows, key=lambda each: (each[0], str(each[1]["task"])))]
    return pd.DataFrame(found, columns=["task", "since", "verdict_before"])


def sign_flip(differences: Floats, draws: int = DRAWS) -> float:
    """Return the two-sided p value of Σ differences under the null that each sign is equally likely.

    Over all patterns of signs if there are at most `draws`, else over that many random ones (Phipson and Smyth 2010).
    """
    n, total = len(differences), abs(float(differences.sum()))
    bar = total - 1e-9 * float(np.abs(differences).sum())  # sums of the same numbers differ in their last digits
    if n <= 60 and 2**n <= draws:
        signs = 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1) - 1
        return float((np.abs(signs @ differences) >= bar).mean())
    random, reached = np.random.default_rng(0), 0
    for start in range(0, draws, BLOCK):
        signs = 2.0 * random.integers(0, 2, (min(BLOCK, draws - start), n)) - 1
        reached += int((np.abs(signs @ differences) >= bar).sum())
    return (1 + reached) / (1 + draws)


def _of_model(model: str, answers: pd.DataFrame) -> pd.DataFrame:
    groups = list(answers.groupby(["task", "cluster"], sort=False))
    rows = [_of_task(str(task), str(cluster), part, len(groups)) for (task, cluster), part in groups]
    p_values = pd.Series([row["p_value"] for row in rows], dtype=float)
    for place, (row, q) in enumerate(zip(rows, adjust(p_values), strict=True)):
        row |= {"model": model, "q_value": float(q)}
        if q <= LEVEL:
            row["verdict"] = LOST if row["worse"] > 0 else WON
        elif row["n"] and adjust(p_values.where(p_values.index != place, row["best_p"]))[place] <= LEVEL:
            row["verdict"] = UNCHANGED
        elif row["n"]:
            row["reason"] = f"n = {row['n']} is too small: no outcome could be significant"
    return pd.DataFrame(rows)


def _of_task(task: str, cluster: str, answers: pd.DataFrame, tasks: int) -> dict[str, Any]:
    """Return a row with `p_value` by the task's measure, the smallest there could be, and whether it got worse."""
    losses = answers[["loss_before", "loss_after"]].to_numpy(float)
    finite = np.isfinite(losses).all(1)
    kept, losses = answers.iloc[np.flatnonzero(finite)], losses[finite]
    n = len(kept)
    row: dict[str, Any] = dict.fromkeys([*COLUMNS, "best_p", "worse"])
    row |= {"task": task, "cluster": cluster, "verdict": UNDECIDABLE, "n": n, "non_finite": int((~finite).sum())}
    if not n:
        return row | {"reason": "no example that fits the model has finite losses"}
    exact, right = _exact_match(kept)
    loss = _loss(kept["tokens"].to_numpy(float), losses, max(DRAWS, 100 * tasks))
    by_exact = 2.0 ** (1 - right) <= LEVEL / tasks
    measure, found, change = (EXACT, exact, -exact["exact_change"]) if by_exact else (LOSS, loss, loss["loss_change"])
    p_value = found["exact_p" if by_exact else "loss_p"]
    best = 2.0 ** (1 - max(right, n - right) if by_exact else 1 - n)
    return row | exact | loss | {"measure": measure, "p_value": p_value, "best_p": min(best, 1.0), "worse": change}


def _exact_match(answers: pd.DataFrame) -> tuple[dict[str, Any], int]:
    """Return both shares, their difference (Agresti and Min 2005) and McNemar's exact p; and how many were right."""
    before, after = (answers[f"exact_{said}"].to_numpy(bool) for said in ("before", "after"))
    n, gained, lost = len(before), int((after & ~before).sum()), int((before & ~after).sum())
    p_value = float(stats.binomtest(lost, gained + lost).pvalue) if gained + lost else 1.0
    middle = (gained - lost) / (n + 2)  # half an example is added to each of the four cells
    error = math.sqrt(max(gained + lost + 1 - (gained - lost) ** 2 / (n + 2), 0.0)) / (n + 2)
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    found = {
        "exact_before": float(before.mean()), "exact_after": float(after.mean()), "exact_change": (gained - lost) / n,
        "exact_low": max(middle - half, -1.0), "exact_high": min(middle + half, 1.0), "exact_p": p_value,
    }  # fmt: skip
    return found, int(before.sum())


def _loss(tokens: Floats, losses: Floats, draws: int) -> dict[str, Any]:
    """Return both losses (nats per target token), their difference with Student's interval, and the sign-flip p."""
    difference = losses[:, 1] - losses[:, 0]
    found = ratio(difference, tokens) if len(tokens) >= FEWEST else None
    before, after = (float(each) for each in losses.sum(0) / tokens.sum())
    return {
        "loss_before": before, "loss_after": after, "loss_change": float(difference.sum() / tokens.sum()),
        "loss_low": found.low if found else None, "loss_high": found.high if found else None,
        "loss_p": sign_flip(difference, draws),
    }  # fmt: skip
