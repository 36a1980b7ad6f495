"""The test of the advice tells a better choice of layers from one that is not, on trainings whose outcome is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.advice.arms import against, arms, nested_interval, verdict
from experiments.advice.text import outcome


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


@pytest.mark.parametrize(("gain", "said"), [(0.1, "better"), (-0.1, "worse")])
def test_the_verdict_is_what_was_planted(gain: float, said: str) -> None:
    table = against(trainings(gain, rivals=("random", "all")))
    for _, row in table[table["measure"] == "loss"].iterrows():
        assert verdict(row) == said
        assert row["difference"] == pytest.approx(-gain, abs=0.02)
        assert row["better"] + row["worse"] == row["pairs"] == 24
    verb = {"better": "beat", "worse": "are worse than"}[said]
    assert outcome(table)[0].startswith(f"The advised layers {verb} as many random layers")
    assert f"lower in {24 if gain > 0 else 0} of 24 pairs (8 tasks, 3 seeds)" in outcome(table)[0]


def test_better_on_half_of_the_tasks_and_worse_on_the_others_beats_nothing() -> None:
    found = trainings(0.0, noise=0.0)
    odd = found["task"].str[-1].astype(int) % 2
    found["loss"] += found["arm"].eq("advised") * (0.2 * odd - 0.1)
    table = against(found)
    assert verdict(table.iloc[0]) == "not shown" and table["better"].iloc[0] == table["worse"].iloc[0] == 12
    assert outcome(table)[0].startswith("The advice does not beat as many random layers")


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


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=12), st.integers(2, 4))
def test_seeds_that_agree_add_nothing_to_what_tasks_carry(values: list[float], seeds: int) -> None:
    column = np.asarray(values)[:, None]
    found = nested_interval(np.repeat(column, seeds, axis=1))
    np.testing.assert_allclose(found, nested_interval(column), atol=1e-9)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
