"""The exact splits against every split there is, and against ruptures."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import ruptures
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mossa.analysis.change_points import piece_costs, split

curves = st.integers(6, 10).flatmap(
    lambda L: arrays(np.float64, (L, 2), elements=st.floats(-1, 1, width=32).map(lambda x: round(x, 3)))
)


def squared_error(curve: np.ndarray, ends: tuple[int, ...]) -> float:
    edges = (0, *ends, len(curve))
    pieces = [curve[i:j] for i, j in pairwise(edges)]
    return sum(float(((piece - piece.mean(axis=0)) ** 2).sum()) for piece in pieces)


@given(curves, st.sampled_from([2, 3]))
@settings(max_examples=60, deadline=None)
def test_no_split_of_all_is_better(curve, pieces):
    allowed = [
        ends for ends in combinations(range(1, len(curve)), pieces - 1) if min(np.diff((0, *ends, len(curve)))) >= 2
    ]
    best = min(squared_error(curve, ends) for ends in allowed)
    ends, error = split(curve[None], pieces)
    assert tuple(ends[0]) in allowed
    assert error[0] == pytest.approx(best, abs=1e-9)
    assert squared_error(curve, tuple(ends[0])) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("breaks", [1, 2])
def test_agrees_with_ruptures_dynp(seed, breaks):
    curve = np.random.default_rng(seed).normal(size=(32, 3)).cumsum(axis=0)
    oracle = ruptures.Dynp(model="l2", min_size=2, jump=1).fit(curve).predict(n_bkps=breaks)
    ends, _ = split(curve[None], breaks + 1)
    assert list(ends[0]) == oracle[:-1]


def test_many_curves_are_split_as_each_alone():
    many = np.random.default_rng(1).normal(size=(20, 12, 3))
    together, errors = split(many, 3)
    for curve, ends, error in zip(many, together, errors, strict=True):
        alone, alone_error = split(curve[None], 3)
        assert list(alone[0]) == list(ends)
        assert alone_error[0] == pytest.approx(error)


def test_costs_are_squared_errors_even_far_from_zero():
    curve = np.random.default_rng(2).normal(size=(8, 1)) + 1e6
    cost = piece_costs(curve[None])[0]
    for i, j in combinations(range(9), 2):
        assert cost[i, j] == pytest.approx(float(((curve[i:j] - curve[i:j].mean()) ** 2).sum()), abs=1e-6)
    assert np.isinf(cost[np.tril_indices(9)]).all()


def test_too_few_layers_is_said():
    with pytest.raises(ValueError, match="5 layers cannot hold 3 pieces of at least 2"):
        split(np.zeros((1, 5, 1)), 3)
