"""The relatives of CKA: what they leave unchanged, the metrics' triangles, and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors

from mossa.errors import SimilarityError
from mossa.similarity import ESTIMATORS, similarity
from tests.similarity import reference

ids = pytest.mark.parametrize("id", [id for id in ESTIMATORS if not id.startswith("shift-")])


def value(id, Y, Z):
    grouped = ESTIMATORS[id].view is not None and ESTIMATORS[id].view.grouping != "fixed"
    groups = [i % 12 for i in range(len(Y))] if grouped else None
    return float(similarity(Y, Z, id, groups=groups).value)


MAPS = {
    "translation": lambda X, random: X + random.normal(size=X.shape[1]),
    "isotropic scaling": lambda X, random: X * np.exp(random.normal()),
    "orthogonal": lambda X, random: X @ np.linalg.qr(random.normal(size=(X.shape[1],) * 2))[0],
    "dimension scaling": lambda X, random: X * np.exp(random.normal(size=X.shape[1])),
    "invertible linear": lambda X, random: X @ random.normal(size=(X.shape[1],) * 2),
}


@ids
def test_declared_invariances_are_exactly_the_true_ones(id):
    Y, Z = reference.related(60, 5, 0)
    for name, change in MAPS.items():
        random = np.random.default_rng(1)
        moved = value(id, change(Y, random), change(Z, random))
        unchanged = moved == pytest.approx(value(id, Y, Z), abs=1e-9)
        assert unchanged == (name in ESTIMATORS[id].invariances), name


@ids
@pytest.mark.parametrize("exponent", [-110, 110])
def test_what_the_scale_leaves_unchanged_it_does_over_the_whole_range_of_float32(id, exponent):
    Y, Z = (X.astype(np.float32) for X in reference.related(60, 5, 0))
    if "isotropic scaling" in ESTIMATORS[id].invariances:
        assert value(id, np.ldexp(Y, exponent), Z) == pytest.approx(value(id, Y, Z), abs=1e-6)
    if "dimension scaling" in ESTIMATORS[id].invariances:
        assert value(id, np.ldexp(Y, [exponent, 0, 0, 0, 0]), Z) == pytest.approx(value(id, Y, Z), abs=1e-6)


@ids
@pytest.mark.parametrize(("dtype", "constant"), [(np.float64, 3.3), (np.float64, 1e4), (np.float32, 1e15)])
def test_dimensions_that_do_not_vary_change_nothing(id, dtype, constant):
    if "translation" not in ESTIMATORS[id].invariances:
        return  # it looks at the origin too
    Y, Z = (X.astype(dtype) for X in reference.related(97, 5, 0))
    more = [np.concatenate([X, np.full((97, 20), constant, dtype)], axis=1) for X in (Y, Z)]
    assert value(id, *more) == pytest.approx(value(id, Y, Z), abs=1e-5)


@ids
def test_a_copy_is_closest_and_symmetry_is_as_declared(id):
    Y, Z = reference.related(60, 5, 2)
    assert value(id, Y, Y) == pytest.approx(1 if ESTIMATORS[id].higher_is_closer else 0, abs=1e-7)
    symmetric = value(id, Y, Z) == pytest.approx(value(id, Z, Y), abs=1e-10)
    assert symmetric == ESTIMATORS[id].symmetric


@pytest.mark.parametrize("id", ["procrustes", "procrustes-angular"])
@settings(max_examples=40, deadline=None)
@given(n=st.integers(4, 20), d=st.integers(1, 25), seed=st.integers(0, 10**6))
def test_shape_distances_obey_the_triangle_inequality(id, n, d, seed):
    random = np.random.default_rng(seed)
    A, B, C = (random.normal(size=(n, d)) for _ in range(3))
    B = A + 0.3 * B
    assert value(id, A, C) <= value(id, A, B) + value(id, B, C) + 1e-7


@pytest.mark.parametrize(("n", "d"), [(50, 4), (12, 30)])
def test_procrustes_is_what_scipy_finds(n, d):
    Y, Z = reference.related(n, d, 3)
    Y, Z = ((X - X.mean(0)) / np.linalg.norm(X - X.mean(0)) for X in (Y, Z))
    rotation, scale = scipy.linalg.orthogonal_procrustes(Y, Z)
    assert value("procrustes", Y, Z) == pytest.approx(np.linalg.norm(Y @ rotation - Z), rel=1e-6)
    assert value("procrustes-angular", Y, Z) == pytest.approx(np.arccos(scale), rel=1e-6)
    *_, disparity = scipy.spatial.procrustes(Y, Z)
    assert np.cos(value("procrustes-angular", Y, Z)) ** 2 == pytest.approx(1 - disparity, rel=1e-6)


def test_canonical_correlations_are_those_of_scikit_learn():
    Y, Z = reference.related(200, 3, 4)
    y, z = CCA(n_components=3, tol=1e-12, max_iter=10_000).fit_transform(Y, Z)
    correlations = np.array([scipy.stats.pearsonr(y[:, i], z[:, i]).statistic for i in range(3)])
    assert value("svcca", Y, Z) == pytest.approx(correlations.mean(), rel=1e-5)
    directions = y / np.linalg.norm(y, axis=0)
    weights = np.abs(directions.T @ (Y - Y.mean(0))).sum(1)
    assert value("pwcca", Y, Z) == pytest.approx(weights @ correlations / weights.sum(), rel=1e-5)


def test_svcca_drops_the_dimensions_beyond_99_percent():
    Y, Z = reference.related(300, 6, 5)
    small = np.array([1.0, 1.0, 1.0, 1e-3, 1e-3, 1e-3])
    assert value("svcca", Y * small, Z * small) == pytest.approx(value("svcca", Y[:, :3], Z[:, :3]), abs=0.01)


def test_rsa_is_the_correlation_of_distances():
    Y, Z = reference.related(30, 5, 6)
    distances = [scipy.spatial.distance.pdist(X) for X in (Y, Z)]
    assert value("rsa-pearson", Y, Z) == pytest.approx(scipy.stats.pearsonr(*distances).statistic, rel=1e-9)
    assert value("rsa-spearman", Y, Z) == pytest.approx(scipy.stats.spearmanr(*distances).statistic, rel=1e-9)


def test_mutual_neighbours_are_those_of_scikit_learn():
    Y, Z = reference.related(80, 5, 7)
    near = [NearestNeighbors(n_neighbors=10, metric="cosine").fit(X).kneighbors(return_distance=False) for X in (Y, Z)]
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    assert value("mutual-knn", Y, Z) == pytest.approx(shared, rel=1e-12)


def test_regression_is_that_of_scikit_learn():
    Y, Z = reference.related(50, 4, 8)
    prediction = LinearRegression().fit(Y, Z).predict(Y)
    expected = 1 - ((Z - prediction) ** 2).sum() / ((Z - Z.mean(0)) ** 2).sum()
    assert value("linear-regression-r2", Y, Z) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("id", ["svcca", "pwcca", "linear-regression-r2", "mutual-knn"])
def test_what_would_be_the_same_for_any_data_is_refused(id):
    Y, Z = reference.related(10, 30, 9)
    with pytest.raises(SimilarityError, match=r"whatever the data|are all of them"):
        value(id, Y, Z)
