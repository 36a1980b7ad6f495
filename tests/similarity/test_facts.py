"""Traps that cost others their correctness, each held open here."""

from __future__ import annotations

import numpy as np
import pytest

from mossa.similarity import cka, leave_out


def independent(n, d, seed, e=None):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(size=(n, e or d))


@pytest.mark.parametrize("kernel", ["linear", "rbf", "polynomial"])
def test_debiased_cka_of_unrelated_data_is_0_on_average(kernel):
    values = np.array([cka(*independent(20, 15, seed), kernel, True).value for seed in range(150)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert (values < 0).mean() > 0.3  # negative values are information, and kept


def test_debiased_within_groups_is_0_on_average_and_ignores_the_groups_means():
    groups = np.repeat(np.arange(6), [2, 3, 4, 5, 6, 8])
    values = []
    for seed in range(200):
        Y, Z = independent(len(groups), 10, seed)
        shared = 5 * np.random.default_rng(seed + 1000).normal(size=(6, 10))[groups]
        scale = np.linspace(0.5, 2, 6)[groups][:, None]  # groups vary by different amounts, on both sides
        values.append(float(cka(Y * scale + shared, Z * scale + shared, debiased=True, groups=groups.tolist()).value))
    values = np.array(values)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_plain_cka_of_unrelated_data_grows_with_d_over_n():
    for n, d in [(50, 100), (200, 100), (200, 20)]:
        value = np.mean([cka(*independent(n, d, seed)).value for seed in range(10)])
        assert value == pytest.approx(d / (n + d), rel=0.06)


def test_three_shared_outlier_dimensions_pass_for_similarity_until_they_are_left_out():
    Y, Z = independent(300, 100, 0)
    shared = 300 * np.random.default_rng(1).normal(size=(300, 3))
    Y[:, :3], Z[:, :3] = shared, shared
    found = {(row.what, row.count): row.value for row in leave_out(Y, Z)}
    assert found["dimensions", 0] > 0.98
    assert abs(found["dimensions", 3]) < 0.05
    assert cka(Y, Z, debiased=True, zscored=True).value < 0.2


def test_a_few_large_prompts_pass_for_similarity_until_they_are_left_out():
    Y, Z = independent(100, 30, 2)
    Y[:3], Z[:3] = 100 * np.ones(30), -100 * np.ones(30)
    found = {(row.what, row.count): row.value for row in leave_out(Y, Z)}
    assert found["prompts", 0] > 0.99
    assert abs(found["prompts", 3]) < 0.1
