"""Sections are found where they were planted, and nowhere else: simulations, small here and full every night."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sections import PLANTED, STEP, WITHOUT, curves
from mossa.analysis import analyse, find_sections
from mossa.analysis.broken_line import RIVALS, broken_line, knots, rival, whitened
from mossa.errors import DataError
from tests.analysis.synthetic import ramp, world

FIGURE_2 = json.loads((Path(__file__).parent / "data" / "figure2.json").read_text(encoding="utf-8"))
NIGHTLY = bool(os.environ.get("MOSSA_NIGHTLY"))
DRAWS = 200 if NIGHTLY else 8
SIZES = [(6, 60), (12, 24), (24, 60), (30, 12), (80, 60)] if NIGHTLY else [(6, 60), (24, 24)]


def found(shape: np.ndarray, T: int, draws: int = DRAWS) -> list[int]:
    """Return the number of sections in each draw of autocorrelated task curves around a shape that rises by .3."""
    return [find_sections(curves(0.3 * shape, T, 0.8, seed), seed=seed).sections for seed in range(draws)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WITHOUT)
def test_none_are_invented(name, size):
    L, T = size
    invented = sum(n > 1 for n in found(WITHOUT[name](L), T))
    assert invented <= (0.08 * DRAWS if NIGHTLY else 1)  # 5 %, and what 200 or 8 draws may add to that


@pytest.mark.parametrize("size", [(12, 24), (24, 24), (30, 60), (80, 60)] if NIGHTLY else [(24, 24)])
@pytest.mark.parametrize("name", PLANTED)
def test_planted_ones_are_found(name, size):
    L, T = size
    assert np.mean(np.array(found(PLANTED[name](L), T)) == 3) >= 0.9 - 0.03 * NIGHTLY - 0.03 * (not NIGHTLY)


def test_a_step_has_two_sections_at_the_right_place():
    for seed in range(4):
        two = find_sections(curves(0.3 * STEP["one step in the middle"](24), 24, 0.8, seed))
        assert (two.sections, two.boundaries[0].layer) == (2, 12)
        assert "takes more than one layer in" in str(two.reason)
        assert two.levels[1] - two.levels[0] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("ends", [(4, 8), (9, 15), (6, 20), (20, 24)])
@pytest.mark.parametrize("seed", range(2))
def test_boundaries_are_where_they_were_planted(ends, seed):
    three = find_sections(curves(ramp(32, ends, 0.4), 40, 0.5, seed))
    assert three.sections == 3 and three.reason is None
    for boundary, end in zip(three.boundaries, ends, strict=True):
        assert abs(boundary.layer - end) <= 1
        assert boundary.low <= boundary.layer <= boundary.high


def test_a_gradual_rise_says_from_where_to_where():
    smooth = find_sections(curves(0.4 * WITHOUT["1 - exp(-5u)"](32), 24, 0.5, 0))
    assert smooth.sections == 1 and smooth.gradual is not None
    assert smooth.gradual[0] <= 3 and 12 <= smooth.gradual[1] <= 18
    assert "gradual from layer" in str(smooth.reason)
    hump = find_sections(curves(0.4 * WITHOUT["hump"](32), 24, 0.5, 0))
    assert hump.gradual is None and "rise and fall" in str(hump.reason)


def test_the_last_layer_is_no_section_and_moves_none():
    shape = ramp(24, (8, 15), 0.4)
    raised = shape + 0.5 * (np.arange(24) == 23)
    plain, moved = (find_sections(curves(each, 24, 0.5, 1)) for each in (shape, raised))
    assert plain.boundaries == moved.boundaries and moved.sections == 3
    assert find_sections(curves(0.5 * (np.arange(24) == 23), 24, 0.5, 1)).sections == 1


def test_a_model_that_moves_away_has_no_sections():
    away = find_sections(curves(-ramp(32, (9, 15), 0.4), 24, 0.5, 0))
    assert away.sections == 1 and "does not come closer" in str(away.reason)


def test_tasks_that_differ_in_level_and_gain_hide_nothing():
    rng = np.random.default_rng(0)
    shape = ramp(32, (9, 15), 0.3) * rng.uniform(0.5, 1.5, size=(40, 1)) + rng.normal(size=(40, 1))
    three = find_sections(shape + 0.02 * rng.normal(size=(40, 32)))
    assert three.sections == 3
    assert [each.layer for each in three.boundaries] == pytest.approx([9, 15], abs=1)


def test_too_few_tasks_or_layers_are_the_reason_and_wrong_input_is_refused():
    assert find_sections(np.zeros((7, 32))).reason == "there are 7 tasks; the rule needs 8."
    assert find_sections(np.zeros((20, 5))).reason == "there are 5 layers; the rule needs 6."
    assert find_sections(np.zeros((20, 12))).sections == 1
    for wrong in (np.zeros(4), np.full((9, 9), np.inf)):
        with pytest.raises(DataError, match="must be finite numbers"):
            find_sections(wrong)


@settings(max_examples=10, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 10), st.integers(0, 100))
def test_a_common_offset_and_the_scale_move_no_boundary(offset, scale, seed):
    given_curves = curves(ramp(16, (5, 9), 0.4), 16, 0.5, seed)
    one, other = find_sections(given_curves), find_sections(scale * given_curves + offset)
    assert (one.sections, one.boundaries, one.gradual) == (other.sections, other.boundaries, other.gradual)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize("name", RIVALS)
def test_fits_are_those_of_least_squares(name, correlation):
    """The grid's best fit leaves no more error than ordinary least squares on the chosen curve, and no less."""
    curve = np.random.default_rng(0).normal(size=14) + np.arange(14)
    for family in (rival(name, 14, 2, correlation), broken_line(14, correlation)):
        error, best = family.fit(curve[None])
        columns = family.linear
        if len(family.directions):
            columns = np.column_stack([columns, family.directions[best[0]]])
        residual = curve - columns @ np.linalg.lstsq(columns, curve, rcond=None)[0]
        assert error[0] == pytest.approx(residual @ residual)
        assert np.sum((curve - family.curve(curve)) ** 2) == pytest.approx(error[0])


def test_an_exact_ramp_is_fitted_without_error_at_its_knots():
    exact = whitened(ramp(14, (4, 8), 1.0)[None], 0.6)
    error, best = broken_line(14, 0.6).fit(exact)
    assert error[0] == pytest.approx(0, abs=1e-12)
    assert tuple(knots(14)[best[0]]) == (4, 9)


def test_the_table_names_layers_and_fractions_of_depth():
    table = analyse(world(12, L=12, gain=ramp(12, (3, 6), 0.3))).sections
    assert set(table["estimator"]) == {"cka-linear", "cka-linear-debiased"}
    for _, row in table.iterrows():
        assert (row["shared_end"], row["transition_end"], row["sections"]) == (3, 6, 3)
        assert (row["shared_end_fraction"], row["transition_end_fraction"]) == (0.25, 0.5)
        assert pd.isna(row["reason"]) and row["p_value"] <= 0.02


def test_a_task_undefined_at_a_layer_is_left_out_and_counted():
    tables = world(12, L=12, gain=ramp(12, (3, 6), 0.3))
    similarity = tables["similarity"]
    gone = (similarity["task"] == "task03") & (similarity["layer"] == 1)
    tables["similarity"] = similarity.assign(value=similarity["value"].where(~gone))
    table = analyse(tables).sections
    assert list(table["tasks"]) == [11, 11]
    assert list(table["undefined"]) == [1, 1]
