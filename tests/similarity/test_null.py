"""What is above chance: permutations, null-calibrated CKA and distance correlation, against independent packages."""

from __future__ import annotations

import calibrated_similarity
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mossa.similarity import cka, permutation_test, similarity
from tests.similarity import reference


def their_cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    return (X @ X.T * (Y @ Y.T)).sum() / (X @ X.T).norm() / (Y @ Y.T).norm()


def same_permutations(n, seed=0):
    """The permutations that `permutation_test` draws, one after the other, for the other package."""
    random = np.random.default_rng(seed)
    return lambda *_: torch.from_numpy(random.permutation(np.arange(n)))


@pytest.mark.parametrize("mix", [0.0, 0.3, 0.8])
def test_calibrated_cka_is_that_of_calibrated_similarity(mix):
    Y, Z = reference.related(40, 30, 0, mix=mix)
    y, z = torch.from_numpy(Y), torch.from_numpy(Z)
    score, p, threshold = calibrated_similarity.calibrate(y, z, their_cka, K=200, perm_fn=same_permutations(40))
    found = permutation_test(Y, Z, permutations=200)
    assert found.p == pytest.approx(float(p), rel=1e-6)
    assert found.threshold() == pytest.approx(float(threshold), abs=1e-6)
    assert found.calibrated() == pytest.approx(float(score), abs=1e-6)  # theirs is float32
    assert similarity(Y, Z, "cka-linear-calibrated").value == pytest.approx(float(score), abs=1e-6)


@pytest.mark.parametrize("every_pair", [False, True])
def test_the_largest_over_layers_is_calibrated_with_the_same_permutation_everywhere(every_pair):
    Y, Z = reference.related(30, 8, 1, mix=0.3, layers=3)
    layers = [list(torch.from_numpy(X).unbind(1)) for X in (Y, Z)]
    agg = "max" if every_pair else lambda S: S.diagonal().max()
    theirs = calibrated_similarity.calibrate_layers(*layers, their_cka, agg=agg, K=99, perm_fn=same_permutations(30))
    test = permutation_test(Y, Z, permutations=99, every_pair=every_pair)
    assert test.value.shape == ((9,) if every_pair else (3,))
    found = test.over_layers()
    ours = (found.calibrated(), found.p, found.threshold())
    assert [float(x) for x in ours] == pytest.approx([float(x) for x in theirs], abs=1e-6)


def test_the_largest_of_many_layers_of_noise_is_not_found_significant_more_often_than_it_should():
    random = np.random.default_rng(2)
    tests = [permutation_test(*random.normal(size=(2, 20, 12, 4)), permutations=39) for _ in range(60)]
    assert np.mean([test.p.min() <= 0.05 for test in tests]) > 0.2  # of twelve layers one is, by chance
    assert np.mean([test.over_layers().p <= 0.05 for test in tests]) <= 0.15
    assert np.mean([float(test.over_layers().calibrated()) for test in tests]) < 0.02


@settings(max_examples=25, deadline=None)
@given(n=st.integers(5, 30), d=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_distance_correlation_follows_its_definition_and_so_does_its_debiased_square(n, d, seed):
    Y, Z = reference.related(n, d, seed)
    K, L = reference.distance(Y), reference.distance(Z)
    squared = reference.ratio(reference.plain_hsic, K, L)
    assert cka(Y, Z, "distance").value == pytest.approx(squared, rel=1e-8)
    assert similarity(Y, Z, "distance-correlation").value == pytest.approx(np.sqrt(squared), rel=1e-8)
    U = [reference.u_centred(A) for A in (K, L)]
    debiased = (U[0] * U[1]).sum() / np.sqrt((U[0] ** 2).sum() * (U[1] ** 2).sum())
    assert cka(Y, Z, "distance", debiased=True).value == pytest.approx(debiased, rel=1e-8, abs=1e-10)


def test_distance_correlation_is_that_of_dcor():
    random = np.random.default_rng(0)
    Y = random.normal(size=(40, 6))
    Z = 0.6 * Y + 0.4 * random.normal(size=(40, 6))
    # dcor 0.7, distance_correlation and u_distance_correlation_sqr of these two; it is too large to install for a test
    assert similarity(Y, Z, "distance-correlation").value == pytest.approx(0.8959960646660795, rel=1e-12)
    assert cka(Y, Z, "distance", debiased=True).value == pytest.approx(0.6894940285826576, rel=1e-12)


def test_distance_correlation_sees_what_linear_cka_does_not():
    Y = np.random.default_rng(3).normal(size=(300, 1))
    assert abs(cka(Y, np.abs(Y), debiased=True).value) < 0.05
    assert cka(Y, np.abs(Y), "distance", debiased=True).value > 0.15
