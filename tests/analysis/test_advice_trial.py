"""The test of the advice tells a better choice of layers from one that is not, on trainings whose outcome is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.analysis.advice_trial import against, arms, verdict
from mossa.analysis.bootstrap import interval, nested_interval
from mossa.report.advice import outcome


def trainings(gain: float, T: int = 8, noise: float = 0.02, seed: int = 0, rivals: tuple[str, ...] = ("random",)):
    """Return trainings in which the advised layers reach a loss lower by `gain` than any rival's."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 3.0, T)
    rows = [
        {
            "arm": arm,
            "task": f"task{k}",
            "seed": s,
            "loss": level[k] - gain * (arm == "advised") + noise * rng.normal(),
            "accuracy": 0.5 + gain * (arm == "advised"),
        }
        for arm in ("advised", *rivals)
        for k in range(T)
        for s in range(3)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("gain", "said"), [(0.1, "better"), (-0.1, "worse"), (0.0, "not shown")])
def test_the_verdict_is_what_was_planted(gain: float, said: str) -> None:
    table = against(trainings(gain, rivals=("random", "all")))
    for _, row in table[table["measure"] == "loss"].iterrows():
        assert verdict(row) == said
        assert row["difference"] == pytest.approx(-gain, abs=0.02)
        assert row["better"] + row["worse"] == row["pairs"] == 24
    text = outcome(table)
    assert text[0].startswith(
        {
            "better": "The advised layers beat as many random layers",
            "worse": "The advised layers are worse than as many random layers",
            "not shown": "The advice does not beat as many random layers",
        }[said]
    )


def test_the_same_outcome_the_other_way_round_is_its_opposite() -> None:
    found = trainings(0.05)
    swapped = found.assign(arm=found["arm"].map({"advised": "random", "random": "advised"}))
    one, other = against(found), against(swapped)
    np.testing.assert_allclose(one["difference"], -other["difference"])
    np.testing.assert_allclose(one["low"], -other["high"], atol=0.01)
    assert list(one["better"]) == list(other["worse"])


def test_chance_is_seldom_taken_for_merit() -> None:
    rows = [against(trainings(0.0, seed=seed)).iloc[0] for seed in range(100)]
    assert sum(verdict(row) == "better" for row in rows) <= 10


def test_a_task_that_lacks_a_training_is_left_out_and_counted() -> None:
    found = trainings(0.1)
    missing = found["arm"].eq("random") & found["task"].eq("task3") & found["seed"].eq(1)
    row = against(found[~missing]).iloc[0]
    assert (row["tasks"], row["left_out"], row["pairs"]) == (7, 1, 21)
    assert "1 tasks lack a training" in outcome(against(found[~missing]))[0]
    means = arms(found[~missing]).set_index("arm")
    assert (means.loc["advised", "tasks"], means.loc["random", "tasks"]) == (8, 7)


def test_a_rival_of_the_very_layers_has_no_number() -> None:
    table = against(trainings(0.1), same=("last",))
    row = table[table["arm"] == "last"].iloc[0]
    assert row["same"] and pd.isna(row["difference"])
    assert "nothing to compare" in outcome(table)[1]


def test_two_tasks_allow_no_verdict() -> None:
    assert verdict(against(trainings(0.5, T=2)).iloc[0]) == "cannot be said"


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=12))
def test_with_one_seed_only_tasks_are_resampled(values: list[float]) -> None:
    column = np.asarray(values)
    low, high = nested_interval(column[:, None])
    assert min(values) <= low <= high <= max(values)
    if np.ptp(column) > 1e-6:
        width = interval(column, np.mean)
        assert (high - low) == pytest.approx(width.high - width.low, rel=0.35)
