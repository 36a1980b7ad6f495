"""Standard errors, intervals and permutations."""

from __future__ import annotations

import numpy as np
import pytest

from mossa.similarity import cka, compare, permutation_test
from tests.similarity import reference


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
        row = compare({"pretrained": B, "sft": E}, C, ["cka-linear-debiased"]).difference[0]
        covered.append(row["low"] <= truth <= row["high"])
    assert 0.925 <= np.mean(covered) <= 0.975


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
