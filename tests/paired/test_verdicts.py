"""Verdicts on tasks: parity with other implementations, laws, and what they do where nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from mossa.paired.verdicts import COLUMNS, LOST, UNCHANGED, UNDECIDABLE, WON, forgotten, judge, sign_flip


def answers(task: str, before: list[bool], after: list[bool], shift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return answers of a task with two tokens each, whose loss after is `shift` nats more, and a little noise."""
    random, n = np.random.default_rng(seed), len(before)
    loss = random.exponential(size=n) + 1
    columns: dict[str, Any] = {"example": range(n), "tokens": 2, "loss_before": loss}
    columns |= {"loss_after": loss + shift + 0.1 * random.normal(size=n), "exact_before": before, "exact_after": after}
    return pd.DataFrame(columns).assign(model="tuned", task=task, cluster="all")


def right(of: int, n: int) -> list[bool]:
    return [place < of for place in range(n)]


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=9))
@settings(max_examples=40)
def test_few_examples_are_tested_by_all_signs(differences: list[int]) -> None:
    values = np.array(differences, dtype=float)
    signs = np.array(np.meshgrid(*[(-1, 1)] * len(values))).reshape(len(values), -1).T
    expected = np.mean(np.abs(signs @ values) >= abs(values.sum()))
    assert sign_flip(values) == pytest.approx(expected, abs=1e-12)


def test_many_examples_are_tested_by_random_signs() -> None:
    values = np.random.default_rng(1).normal(0.25, 1, 40)
    expected = stats.permutation_test(
        (values,), lambda x, axis: x.sum(axis), permutation_type="samples", n_resamples=9_999, rng=3
    ).pvalue
    assert sign_flip(values) == pytest.approx(expected, abs=0.02)
    assert sign_flip(np.ones(40)) == pytest.approx(1e-4)  # never 0


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=40)
def test_exact_match_is_tested_as_mcnemar_does(both: int, lost: int, won: int, neither: int) -> None:
    n = both + lost + won + neither
    if n == 0:
        return
    before = [True] * (both + lost) + [False] * (won + neither)
    after = [True] * both + [False] * lost + [True] * won + [False] * neither
    row = judge(answers("one", before, after)).iloc[0]
    assert row["exact_p"] == pytest.approx(float(mcnemar([[both, lost], [won, neither]], exact=True).pvalue))
    assert row["exact_change"] == pytest.approx((won - lost) / n)
    cells = np.array([both, lost, won, neither]) + 0.5  # Agresti and Min: Wald's interval with half an example more
    shares = cells / cells.sum()
    change = shares[2] - shares[1]
    half = stats.norm.ppf(0.975) * np.sqrt((shares[1] + shares[2] - change**2) / cells.sum())
    assert row["exact_low"] == pytest.approx(max(change - half, -1))
    assert row["exact_high"] == pytest.approx(min(change + half, 1))
    assert row["exact_low"] <= row["exact_change"] <= row["exact_high"]


def test_the_loss_is_per_token_with_students_interval() -> None:
    table = answers("one", [False] * 30, [False] * 30, 0.4)
    row, difference = judge(table).iloc[0], (table["loss_after"] - table["loss_before"]) / 2
    interval = stats.ttest_1samp(difference, 0).confidence_interval()
    assert row["loss_change"] == pytest.approx(difference.mean())
    assert (row["loss_low"], row["loss_high"]) == pytest.approx(tuple(interval))
    assert row["loss_before"] == pytest.approx(table["loss_before"].mean() / 2)
    assert list(judge(table).columns) == COLUMNS


@pytest.mark.parametrize("n", [1, 3, 40])
def test_nothing_is_lost_or_won_where_nothing_changed(n: int) -> None:
    table = pd.concat([answers(f"task-{k}", right(k, n), right(k, n), seed=k) for k in range(8)])
    table["loss_after"] = table["loss_before"]
    found = judge(table)
    assert set(found["verdict"]) == ({UNCHANGED} if n == 40 else {UNDECIDABLE})
    assert (found["p_value"] == 1).all() and (found["loss_change"] == 0).all()


def test_a_task_is_judged_by_exact_match_only_where_losing_all_would_show() -> None:
    tasks = [answers(f"task-{k}", right(12 if k else 11, 40), right(12 if k else 11, 40), seed=k) for k in range(60)]
    measures = judge(pd.concat(tasks)).set_index("task")["measure"]
    assert measures["task-0"] == "loss" and set(measures.drop("task-0")) == {"exact match"}
    assert 2.0 ** (1 - 12) <= 0.05 / 60 < 2.0 ** (1 - 11)


def test_what_is_lost_by_one_measure_is_said_by_that_measure() -> None:
    table = pd.concat([
        answers("right less often", right(40, 50), right(20, 50), -1.0),
        answers("right more often", right(20, 50), right(45, 50), 1.0),
        answers("never right, worse", right(0, 50), right(0, 50), 0.5),
        answers("never right, better", right(0, 50), right(0, 50), -0.5),
        answers("as before", right(30, 50), right(30, 50), 0.5),
    ])  # fmt: skip
    verdicts = judge(table).set_index("task")["verdict"]
    assert verdicts.to_dict() == {
        "right less often": LOST, "right more often": WON, "never right, worse": LOST, "never right, better": WON,
        "as before": UNCHANGED,
    }  # fmt: skip


@pytest.mark.parametrize(("n", "tasks", "verdict"), [(5, 1, UNDECIDABLE), (6, 1, WON), (6, 60, UNDECIDABLE)])
def test_too_few_examples_decide_nothing(n: int, tasks: int, verdict: str) -> None:
    table = [answers("task-0", [False] * n, [False] * n, -9.0)]
    table += [answers(f"task-{k}", [False] * n, [False] * n, seed=k) for k in range(1, tasks)]
    row = judge(pd.concat(table)).iloc[0]
    assert row["verdict"] == verdict
    assert (row["reason"] is None) == (verdict != UNDECIDABLE)


def test_before_and_after_exchanged_turn_won_into_lost() -> None:
    table = pd.concat([answers("a", right(40, 50), right(20, 50)), answers("b", right(0, 50), right(0, 50), 0.5)])
    names = {
        f"{what}_{one}": f"{what}_{other}"
        for what in ("loss", "exact")
        for one, other in (("before", "after"), ("after", "before"))
    }
    one, other = judge(table), judge(table.rename(columns=names))
    assert list(one["verdict"]) == [LOST, LOST] and list(other["verdict"]) == [WON, WON]
    assert np.allclose(one["q_value"], other["q_value"]) and np.allclose(one["loss_change"], -other["loss_change"])


def test_losses_that_are_not_finite_are_left_out_in_pairs_and_counted() -> None:
    table = answers("one", right(0, 30), right(0, 30), -0.5)
    table.loc[3, "loss_after"] = np.nan
    table.loc[4, "loss_before"] = np.inf
    row = judge(table).iloc[0]
    assert (row["n"], row["non_finite"], row["verdict"]) == (28, 2, WON)
    table["loss_after"] = np.nan
    row = judge(table).iloc[0]
    assert (row["n"], row["verdict"]) == (0, UNDECIDABLE) and "finite" in row["reason"]


def test_five_per_cent_of_null_worlds_have_a_false_call_at_most() -> None:
    random, worlds, false = np.random.default_rng(2), 200, 0
    for _ in range(worlds):
        tasks = []
        for k in range(4):
            table = answers(f"task-{k}", list(random.random(14) < 0.6), list(random.random(14) < 0.6))
            tasks.append(table.assign(loss_after=table["loss_before"] + random.standard_t(2, 14)))
        false += judge(pd.concat(tasks))["verdict"].isin([LOST, WON]).any()
    assert false <= stats.binom.ppf(0.999, worlds, 0.05)


def test_tasks_are_listed_in_the_order_in_which_they_were_lost() -> None:
    verdicts = {
        "late": [UNCHANGED, UNCHANGED, LOST],
        "early": [LOST, LOST, LOST],
        "middle": [WON, LOST, LOST],
        "came back": [LOST, UNCHANGED, LOST],
        "recovered": [LOST, LOST, UNCHANGED],
    }
    rows = [(model, task, each[k]) for k, model in enumerate(("m9", "m2", "m5")) for task, each in verdicts.items()]
    found = forgotten(pd.DataFrame(rows, columns=["model", "task", "verdict"]))
    assert list(found["task"]) == ["early", "middle", "came back", "late"]
    assert list(found["since"]) == ["m9", "m2", "m5", "m5"]
    assert found["verdict_before"].isna().tolist() == [True, False, False, False]
    assert list(found["verdict_before"])[1:] == [WON, UNCHANGED, UNCHANGED]
