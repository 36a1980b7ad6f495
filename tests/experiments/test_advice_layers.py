"""Advice names the layers that were planted, says which rule it used, and stays silent where nothing stands out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.advice.layers import Advice, advise, nearest_controls, rank_layers, risen_layers, spans
from mossa.analysis import analyse
from mossa.errors import DataError
from tests.analysis.synthetic import steps, world


def advice(**known: object) -> Advice:
    return advise(analyse(world(**known)))


def test_the_transition_section_is_advised() -> None:
    found = advice(T=12, L=12, gain=np.interp(np.arange(1, 13), [4, 9], [0.0, 0.3]))
    assert (found.rule, found.layers) == ("sections", (5, 6, 7, 8))
    assert "shared ends after layer 4 [4, 4]" in found.reason and "12 tasks" in found.reason
    assert list(found.ranking.loc[found.ranking["advised"], "layer"]) == [5, 6, 7, 8]


def test_without_a_transition_all_layers_after_the_shared_ones_are_advised() -> None:
    found = advice(T=12, L=12, gain=steps(12, (7,), (0.0, 0.2)))
    assert (found.rule, found.layers) == ("sections", (8, 9, 10, 11, 12))


def test_without_sections_the_layers_that_rose_more_than_the_others_are_advised() -> None:
    gain = np.array([0.02, 0.02, 0.02, 0.3, 0.02])
    found = advice(T=12, L=5, gain=gain)
    assert (found.rule, found.layers) == ("rise", (4,))
    assert "no sections" in found.reason and "layer 4 +0.30" in found.reason
    rows = found.ranking.set_index("layer")
    assert rows.loc[4, "rise"] == pytest.approx(0.3, abs=0.02)
    assert rows.loc[4, "lead"] == pytest.approx(0.3 - gain.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("gain", "T"),
    [
        (0.2, 12),  # everywhere alike: nothing to choose by
        (np.array([-0.4, -0.4, -0.4, -0.1, -0.4]), 12),  # one layer leads, and yet it fell
        (np.array([0.02, 0.02, 0.02, 0.3, 0.02]), 5),  # too few tasks to be sure
    ],
)
def test_where_nothing_stands_out_no_advice_is_given(gain: float | np.ndarray, T: int) -> None:
    found = advice(T=T, L=5, gain=gain)
    assert (found.rule, found.layers) == ("none", ())
    assert "no layer stands out" in found.reason and not found.ranking["advised"].any()


def test_held_out_tasks_have_no_part_in_it() -> None:
    tables = world(T=14, L=5, gain=np.array([0.02, 0.02, 0.02, 0.3, 0.02]), held_out=4)
    found = advise(analyse(tables))
    assert found.tasks == tuple(f"task{k:02d}" for k in range(10))
    assert found.held_out == tuple(f"task{k:02d}" for k in range(10, 14))
    held = tables["similarity"]["held_out"]
    tables["similarity"].loc[held, "value"] = tables["similarity"].loc[held, "layer"] / 10
    again = advise(analyse(tables))
    pd.testing.assert_frame_equal(again.ranking, found.ranking)
    assert again.reason == found.reason


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(6, 20), st.integers(2, 9))
def test_the_ranking_is_what_it_says(seed: int, T: int, L: int) -> None:
    differences = pd.DataFrame(np.random.default_rng(seed).normal(size=(T, L)), columns=range(1, L + 1))
    table = rank_layers(differences).set_index("layer")
    moved = rank_layers(differences + 5.0).set_index("layer")
    np.testing.assert_allclose(moved["rise"], table["rise"] + 5.0)
    np.testing.assert_allclose(moved["lead"], table["lead"], atol=1e-9)  # a level shared by all layers leads nowhere
    assert ((table["low"] <= table["rise"]) & (table["rise"] <= table["high"])).all()
    assert not (table["lead_low"] > 0).all()


def test_noise_seldom_gives_advice() -> None:
    rng = np.random.default_rng(0)
    noise = [pd.DataFrame(rng.normal(size=(12, 8)), columns=range(1, 9)) for _ in range(100)]
    assert sum(bool(risen_layers(rank_layers(differences))) for differences in noise) <= 10


def test_new_tasks_resemble_the_controls_that_were_planted() -> None:
    names = ["new", "near", "far", "newer"]
    value = {("new", "near"): 0.9, ("new", "far"): 0.3, ("newer", "near"): 0.2, ("newer", "far"): 0.8}
    rows = [
        {"layer": layer, "task": a, "other": b, "value": value.get((a, b), 0.99) if layer == 2 else 0.5}
        for layer in (1, 2)
        for a in names
        for b in names
    ]
    found = nearest_controls(pd.DataFrame(rows), ("new", "newer"), (2,))
    first = found[found["rank"] == 1].set_index("task")["other"]
    assert first.to_dict() == {"new": "near", "newer": "far"}
    assert set(found["other"]) == {"near", "far"}  # what is new itself, and the task itself, are no answers


def test_the_model_can_be_chosen_and_must_be_there() -> None:
    tables = world(T=12)
    assert advise(analyse(tables), "sft").model == "sft"
    with pytest.raises(DataError, match=r"'stf'.*Did you mean 'sft'"):
        advise(analyse(tables), "stf")
    only_base = {"similarity": tables["similarity"][tables["similarity"]["experimental"].eq("pretrained")]}
    with pytest.raises(DataError, match="no tuned model"):
        advise(analyse(only_base))


@given(st.sets(st.integers(1, 12), min_size=1))
def test_layers_in_words_name_each_once(layers: set[int]) -> None:
    named: set[int] = set()
    for part in spans(tuple(sorted(layers))).split(", "):
        ends = [int(end) for end in part.split("-")]
        named |= set(range(ends[0], ends[-1] + 1))
    assert named == layers
