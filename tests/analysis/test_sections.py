"""Sections are found where they were planted or published, and nowhere else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mossa.analysis import analyse
from mossa.analysis.sections import boxes, find_sections
from tests.analysis.worlds import steps, world

FIGURE_2 = json.loads((Path(__file__).parent / "data" / "figure2.json").read_text(encoding="utf-8"))


def like_figure_2(model: str, position: np.ndarray) -> np.ndarray:
    """Return curves `[T, L]`: the task at `position` (0 to 1) in the distribution of each layer's published box."""
    box = np.array([FIGURE_2[model][name] for name in ("whisker_low", "q1", "median", "q3", "whisker_high")])
    return np.stack([np.interp(position, [0, 0.25, 0.5, 0.75, 1], at_layer) for at_layer in box.T], axis=1)


@pytest.mark.parametrize("pairing", ["same", "independent", "between"])
@pytest.mark.parametrize("seed", range(5))
def test_the_papers_figure_2_has_its_sections(pairing, seed):
    """9 and 15, read off by eye in the paper, within one layer each, however base and SFT are paired over tasks."""
    rng = np.random.default_rng(seed)
    base = (np.arange(60) + 0.5) / 60
    scores = {"same": base, "independent": rng.random(60), "between": base + rng.random(60)}[pairing]
    tuned = (scores.argsort().argsort() + 0.5) / 60
    curves = like_figure_2("Llama 2", base)
    np.testing.assert_allclose(np.median(curves, axis=0), FIGURE_2["Llama 2"]["median"], atol=0.01)
    fit = find_sections(like_figure_2("Llama 2-SFT", tuned) - curves)
    assert fit.problem is None
    assert len(fit.levels) == 3
    assert abs(fit.ends[0] - 9) <= 1
    assert abs(fit.ends[1] - 15) <= 1
    assert fit.low[0] <= 9 <= fit.high[0]
    assert fit.low[1] <= 15 <= fit.high[1]


@pytest.mark.parametrize("ends", [(4, 8), (9, 15), (2, 30), (20, 24)])
@pytest.mark.parametrize("seed", range(3))
def test_planted_breaks_are_found(ends, seed):
    rng = np.random.default_rng(seed)
    fit = find_sections(steps(32, ends, (-0.02, 0.15, 0.3)) + 0.05 * rng.normal(size=(20, 32)))
    assert tuple(fit.ends) == ends
    assert fit.problem is None


def test_a_change_of_spread_alone_is_a_boundary_of_the_box_but_not_closer():
    rng = np.random.default_rng(0)
    spread = steps(32, (16,), (0.02, 0.4))
    fit = find_sections(rng.normal(size=(60, 1)) * spread + 0.01 * rng.normal(size=(60, 32)))
    assert len(fit.levels) == 0
    assert "not surely closer" in str(fit.problem)


@pytest.mark.parametrize("seed", range(5))
def test_one_planted_break_gives_two_sections(seed):
    rng = np.random.default_rng(seed)
    fit = find_sections(steps(32, (12,), (0.0, 0.3)) + 0.05 * rng.normal(size=(20, 32)))
    assert list(fit.ends) == [12]
    assert len(fit.levels) == 2
    assert "3 sections" in str(fit.problem)


def smooth(rng: np.random.Generator, T: int, L: int) -> np.ndarray:
    """Return noise that each task carries from layer to layer (a moving average over 8 layers)."""
    return np.stack([np.convolve(rng.normal(size=L + 7), np.ones(8) / 8, mode="valid") for _ in range(T)])


NO_SECTIONS = {
    "noise": lambda rng, T, L: rng.normal(size=(T, L)),
    "walks": lambda rng, T, L: rng.normal(size=(T, L)).cumsum(axis=1),
    "smooth noise": smooth,
    "offsets": lambda rng, T, L: rng.normal(size=(T, 1)) + 0.1 * rng.normal(size=(T, L)),
    "line": lambda rng, T, L: np.linspace(0, 0.4, L) + 0.1 * rng.normal(size=(T, L)),
    "exact line": lambda rng, T, L: np.linspace(0, 0.4, L) + 0 * rng.normal(size=(T, L)),
    "lines of their own slope": lambda rng, T, L: np.linspace(0, 0.4, L) * rng.uniform(0, 2, size=(T, 1)),
    "curve": lambda rng, T, L: np.linspace(0, 0.6, L) ** 2 + 0.02 * rng.normal(size=(T, L)),
    "equal models": lambda _rng, T, L: np.zeros((T, L)),
    "constant gain": lambda _rng, T, L: np.full((T, L), 0.3),
}


@pytest.mark.parametrize("T", [8, 60])
@pytest.mark.parametrize("kind", NO_SECTIONS)
def test_none_are_invented(kind, T):
    found = [len(find_sections(NO_SECTIONS[kind](np.random.default_rng(seed), T, 32)).levels) for seed in range(5)]
    assert found == [0] * 5


def test_a_model_that_moves_away_has_no_sections():
    rng = np.random.default_rng(0)
    fit = find_sections(steps(32, (9, 15), (0, -0.2, -0.4)) + 0.02 * rng.normal(size=(20, 32)))
    assert len(fit.levels) == 0
    assert "not surely closer" in str(fit.problem)


def test_too_few_tasks_or_layers_are_the_reason():
    few = find_sections(np.zeros((7, 32)))
    assert "too few tasks to resample (7; 8 are needed)" in str(few.problem)
    five = find_sections(steps(5, (3,), (0, 0.3)) + 0.01 * np.random.default_rng(0).normal(size=(20, 5)))
    assert list(five.ends) == [3]
    assert "5 layers cannot hold 3 sections" in str(five.problem)
    one = find_sections(np.zeros((20, 1)))
    assert "1 layers cannot hold 2 sections" in str(one.problem)


@pytest.mark.parametrize("seed", range(3))
def test_a_common_offset_and_the_scale_move_no_boundary(seed):
    rng = np.random.default_rng(seed)
    curves = steps(24, (6, 14), (0, 0.1, 0.3)) + 0.1 * rng.normal(size=(30, 24))
    fit, moved = find_sections(curves), find_sections(0.5 * curves - 0.7)
    assert list(fit.ends) == list(moved.ends)
    assert list(fit.low) == list(moved.low)
    assert list(fit.high) == list(moved.high)
    np.testing.assert_allclose(moved.levels, 0.5 * fit.levels - 0.7)


def test_boxes_are_quartiles_over_tasks():
    curves = np.random.default_rng(0).normal(size=(3, 9, 5))
    expected = np.stack([np.percentile(curves, q, axis=1) for q in (25, 50, 75)], axis=-1)
    np.testing.assert_allclose(boxes(curves), expected)


def test_the_table_names_layers_and_fractions_of_depth():
    found = analyse(world(12, L=12, gain=steps(12, (3, 6), (0, 0.1, 0.3)))).sections
    assert set(found["estimator"]) == {"cka-linear", "cka-linear-debiased"}
    for _, row in found.iterrows():
        assert (row["shared_end"], row["transition_end"], row["sections"]) == (3, 6, 3)
        assert (row["shared_end_fraction"], row["transition_end_fraction"]) == (0.25, 0.5)
        assert pd.isna(row["reason"])


def test_a_task_undefined_at_a_layer_is_left_out_and_counted():
    tables = world(12, L=12, gain=steps(12, (3, 6), (0, 0.1, 0.3)))
    similarity = tables["similarity"]
    gone = (similarity["task"] == "task03") & (similarity["layer"] == 1)
    tables["similarity"] = similarity.assign(value=similarity["value"].where(~gone))
    found = analyse(tables).sections
    assert list(found["tasks"]) == [11, 11]
    assert list(found["undefined"]) == [1, 1]
