"""Dimensionality against its definitions."""

from __future__ import annotations

import numpy as np
import pytest

from mossa.similarity import spectrum
from tests.similarity import reference


@pytest.mark.parametrize(("n", "d"), [(40, 9), (15, 60)])
def test_dimensions_follow_their_definitions(n, d):
    Y, _ = reference.related(n, d, 0, layers=2)
    for layer, found in enumerate(spectrum(Y, 0.9)):
        variances = np.linalg.svd(Y[:, layer] - Y[:, layer].mean(0), compute_uv=False) ** 2
        parts = variances / variances.sum()
        assert parts[: found.dimensions].sum() >= 0.9 > parts[: found.dimensions - 1].sum()
        assert found.participation_ratio == pytest.approx(variances.sum() ** 2 / (variances**2).sum(), rel=1e-9)
        entropy = -(parts * np.log(np.maximum(parts, 1e-300))).sum()
        assert found.effective_rank == pytest.approx(np.exp(entropy), rel=1e-6)
        assert (found.layer, found.n, found.d) == (layer + 1, n, d)


def test_k_equal_dimensions_count_as_k_in_every_sense():
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 8)) - 0)[0]
    X = np.linalg.qr(X - X.mean(0))[0][:, :7]
    found = spectrum(np.hstack([X, np.zeros((50, 5))]))[0]
    assert found.dimensions == 7
    assert found.participation_ratio == pytest.approx(7)
    assert found.effective_rank == pytest.approx(7)


def test_float32_with_outlier_dimensions_agrees_with_float64():
    Y, _ = reference.like_a_language_model(60, 200, 1)
    single, double = spectrum(Y)[0], spectrum(Y.astype(np.float64))[0]
    assert single.dimensions == double.dimensions
    assert single.participation_ratio == pytest.approx(double.participation_ratio, rel=1e-5)
    assert single.effective_rank == pytest.approx(double.effective_rank, rel=1e-4)


def test_what_has_no_spectrum_says_why():
    Y, _ = reference.related(10, 3, 2, layers=2)
    Y[:, 0] = 2.0
    Y[:7, 1] = np.nan
    constant, few = spectrum(Y, non_finite="drop")
    assert (constant.dimensions, constant.reason) == (None, "the representations do not vary")
    assert (few.dimensions, few.non_finite, few.reason) == (None, 7, "only 3 finite prompts; 4 are needed")
