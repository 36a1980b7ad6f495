"""Standard errors, intervals, bootstrap, permutations and tests over tasks."""

from __future__ import annotations

import numpy as np
import pytest

from mossa.errors import SimilarityError
from mossa.similarity import bootstrap, cka, compare, permutation_test, share_of_ceiling, signed_rank
from tests.similarity import reference

both = pytest.mark.parametrize("debiased", [False, True])


def population(mix, scales):
    """CKA of the population that `draw` samples, ‖Σ_yz‖² / (‖Σ_yy‖ ‖Σ_zz‖)."""
    yz, yy, zz = mix * scales**2, scales**2, (mix**2 + (1 - mix) ** 2) * scales**2
    return (yz**2).sum() / np.sqrt((yy**2).sum() * (zz**2).sum())


def draw(n, mix, scales, random):
    Y = random.normal(size=(n, len(scales))) * scales
    return Y, mix * Y + (1 - mix) * random.normal(size=Y.shape) * scales


@pytest.mark.parametrize(("n", "d", "mix"), [(200, 12, 0.5), (150, 60, 0.35), (300, 4, 0.7)])
def test_a_95_percent_interval_covers_the_known_cka(n, d, mix):
    scales = 1 / np.sqrt(np.arange(1, d + 1))
    truth, random = population(mix, scales), np.random.default_rng(0)
    found = [cka(*draw(n, mix, scales, random), debiased=True) for _ in range(1000)]
    covered = np.mean([f.low <= truth <= f.high for f in found])
    assert 0.93 <= covered <= 0.97
    values = np.array([f.value for f in found])
    assert np.mean([f.standard_error for f in found]) == pytest.approx(values.std(), rel=0.1)


def test_a_95_percent_interval_covers_the_known_difference():
    scales = 1 / np.sqrt(np.arange(1, 11))
    truth = population(0.6, scales) - population(0.4, scales)
    random, covered = np.random.default_rng(1), []
    for _ in range(600):
        C, E = draw(150, 0.6, scales, random)
        B = 0.4 * C + 0.6 * random.normal(size=C.shape) * scales
        row = compare(C, {"pretrained": B, "sft": E}, ["cka-linear-debiased"]).difference[0]
        covered.append(row["low"] <= truth <= row["high"])
    assert 0.925 <= np.mean(covered) <= 0.975


@both
def test_the_jackknife_and_the_bootstrap_agree(debiased):
    Y, Z = reference.related(250, 5, 0)
    error = float(cka(Y, Z, debiased=debiased).standard_error)
    assert bootstrap(Y, Z, debiased=debiased, resamples=2000).std() == pytest.approx(error, rel=0.12)


@both
def test_a_draw_sums_over_different_prompts_as_often_as_they_were_drawn_together(debiased):
    Y, Z = reference.related(12, 3, 1)
    draws = np.random.default_rng(5).integers(12, size=(3, 12))
    counts = [np.bincount(draw, minlength=12) for draw in draws]

    def hsic(A, B, w):
        pairs = sum(w[i] * w[j] * A[i, j] * B[i, j] for i in range(12) for j in range(12) if i != j)
        return pairs * 12 / 11 + sum(w[i] * A[i, i] * B[i, i] for i in range(12))

    K, L = (reference.u_centred(reference.linear(X)) if debiased else reference.linear(X - X.mean(0)) for X in (Y, Z))
    expected = [hsic(K, L, w) / np.sqrt(hsic(K, K, w) * hsic(L, L, w)) for w in counts]
    assert bootstrap(Y, Z, debiased=debiased, resamples=3, seed=5) == pytest.approx(np.array(expected), rel=1e-9)


@both
def test_draws_are_centred_on_the_value(debiased):
    Y, Z = reference.related(300, 50, 2)
    found = bootstrap(Y, Z, debiased=debiased, resamples=2000)
    value = float(cka(Y, Z, debiased=debiased).value)
    assert found.mean() == pytest.approx(value, abs=0.2 * found.std())


def test_permutations_find_what_is_related_and_not_what_is_not():
    Y, Z = reference.related(60, 5, 2, mix=0.4)
    found = permutation_test(Y, Z, permutations=200)
    assert found.value == pytest.approx(reference.cka(Y, Z), rel=1e-9)
    assert found.p == 1 / 201
    assert permutation_test(Y, Z, permutations=50, seed=1).null == pytest.approx(
        permutation_test(Y, Z, permutations=50, seed=1).null
    )
    random = np.random.default_rng(3)
    p = [permutation_test(*random.normal(size=(2, 30, 4)), permutations=39).p for _ in range(100)]
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert np.mean(np.array(p) <= 0.5) > 0.35


def test_permutations_within_groups_do_not_take_the_groups_for_a_relation():
    random = np.random.default_rng(4)
    groups = np.arange(60) % 3
    means = random.normal(size=(3, 4))[groups] * 5
    Y, Z = (random.normal(size=(60, 4)) + means for _ in range(2))
    assert permutation_test(Y, Z, permutations=99).p == 0.01
    assert permutation_test(Y, Z, permutations=99, groups=groups.tolist()).p > 0.05


def test_the_share_of_the_ceiling():
    assert share_of_ceiling(0.6, 0.8) == pytest.approx(0.75)
    assert share_of_ceiling(0.6, 0.8, null=0.4) == pytest.approx(0.5)
    with pytest.raises(SimilarityError, match=r"the ceiling 0\.3 is not above the null 0\.4"):
        share_of_ceiling(0.6, 0.3, null=0.4)


def test_signed_ranks_over_tasks_find_the_layers_that_differ():
    random = np.random.default_rng(0)
    differences = random.normal(size=(30, 20)) + np.repeat([0.0, 2.0], 10)
    p, q = signed_rank(differences)
    order = np.argsort(p)
    raw = p[order] * 20 / np.arange(1, 21)  # Benjamini and Hochberg
    assert q[order] == pytest.approx(np.minimum.accumulate(raw[::-1])[::-1])
    assert (q[10:] < 0.05).all()
    assert (q[:10] < 0.05).sum() <= 1
    assert signed_rank(np.arange(1.0, 7.0)[:, None])[0] == pytest.approx(2 / 2**6)  # one sign pattern of 64, two sides
    assert signed_rank(np.zeros((8, 2)))[0].tolist() == [1, 1]
    with pytest.raises(SimilarityError, match="T = 5 tasks"):
        signed_rank(differences[:5])
    with pytest.raises(SimilarityError, match="not finite"):
        signed_rank(np.full((8, 2), np.nan))
