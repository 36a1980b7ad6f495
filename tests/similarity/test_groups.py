"""What groups of prompts do to values and intervals. MOSSA_NIGHTLY=1 draws ten times as often, in more worlds."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.coverage import World, measure
from mossa.errors import SimilarityError
from mossa.similarity import ESTIMATORS, cka, compare, similarity
from tests.similarity import reference

NIGHTLY = bool(os.environ.get("MOSSA_NIGHTLY"))
DRAWS = 2000 if NIGHTLY else 120
SLACK = 2 * (0.95 * 0.05 / DRAWS) ** 0.5  # two standard errors of a share of so many draws around 95 %


@pytest.mark.parametrize("size", [2, 3, 4, 8, 20] if NIGHTLY else [2, 3, 4])
@pytest.mark.parametrize("heavy", [False, True] if NIGHTLY else [False])
@pytest.mark.parametrize("n", [40, 120] if NIGHTLY else [40])
def test_small_groups_whose_means_are_removed_are_covered(size, heavy, n):
    found = measure(World(n, n // size, between=2, shared=0, heavy=heavy), "within", DRAWS)
    assert found.missing == 0
    assert found.covered >= 0.92 - SLACK
    assert 0.85 * found.spread < found.error < 1.4 * found.spread


@pytest.mark.parametrize("between", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("n", "groups"), [(100, 5), (100, 10), (400, 20)] if NIGHTLY else [(100, 10)])
def test_fixed_balanced_groups_are_covered_without_waste(n, groups, between):
    world = World(n, groups, between)
    found = measure(world, "fixed", DRAWS)
    assert found.covered >= 0.92 - SLACK
    assert found.error == pytest.approx(found.spread, rel=0.1 if NIGHTLY else 0.2)


@pytest.mark.parametrize("size", [4, 5, 6, 8] if NIGHTLY else [4])
def test_fixed_groups_of_few_prompts_are_covered_because_they_are_no_strata(size):
    """As strata of 4, standard errors were .75 to .80 of the spread, and 87 to 92 % were covered."""
    found = measure(World(20 * size, 20, 1.0), "fixed", DRAWS)
    assert found.covered >= 0.92 - SLACK
    assert found.error > 0.95 * found.spread


@pytest.mark.parametrize("groups", [10, 30] if NIGHTLY else [10])
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_templates_that_are_a_sample_are_covered_if_it_is_said_that_they_are(groups, shared):
    world = World(10 * groups, groups, 1.0, mix=shared, shared=shared, fixed=False)
    prompts, sampled, means = (measure(world, grouping, DRAWS) for grouping in ("fixed", "sampled", "means"))
    assert sampled.covered >= 0.9 - SLACK
    assert means.covered >= 0.93 - SLACK
    assert means.value == pytest.approx(world.truth("means"), abs=0.06)
    if not shared:  # debiasing for independent prompts does not know that they are not
        assert prompts.value > 2 / groups
        assert prompts.covered < 0.6


def test_pairs_have_an_error_that_is_not_zero_and_mixed_sizes_have_one_too():
    Y, Z = reference.related(40, 6, 0)
    pairs = cka(Y, Z, debiased=True, groups=np.arange(40) // 2)
    assert pairs.standard_error > 0.05
    assert pairs.low < pairs.value < pairs.high
    sizes = [2, 3, 1, 2, 20, 5, 7]
    labels = np.repeat(np.arange(7), sizes)
    found = cka(Y, Z, debiased=True, groups=labels)
    values = reference.left_out(lambda y, z, g: reference.within_cka(y, z, g, True), Y, Z, labels)
    variance = sum(reference.variance_within(values[labels == g], float(found.value)) for g in range(7))
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-6)


def test_one_group_is_no_group():
    Y, Z = reference.related(30, 5, 1)
    expected = cka(Y, Z, debiased=True)
    for grouping in ("within", "fixed"):
        found = cka(Y, Z, debiased=True, groups=["a"] * 30, grouping=grouping)
        for column in ("value", "standard_error", "low", "high"):
            assert getattr(found, column) == pytest.approx(getattr(expected, column), rel=1e-9), column


def test_groups_that_are_not_balanced_or_too_small_are_not_strata():
    Y, Z = reference.related(60, 5, 2)
    expected = cka(Y, Z, debiased=True)
    for labels in ([0] * 20 + [1] * 40, list(range(30)) * 2):
        found = cka(Y, Z, debiased=True, groups=labels, grouping="fixed")
        assert found.standard_error == expected.standard_error
        assert "prompts taken as independent" in repr(found).splitlines()[1]
        assert "for these groups" not in repr(found)
    balanced = cka(Y, Z, debiased=True, groups=list(range(6)) * 10, grouping="fixed")
    assert balanced.value == expected.value
    assert "for these groups in these proportions" in repr(balanced)


def test_the_interval_of_strata_is_about_the_value_with_every_stratum_at_its_share():
    random = np.random.default_rng(3)
    labels = np.arange(80) % 8
    Y = random.normal(size=(80, 6)) + 2 * random.normal(size=(8, 6))[labels]
    Z = Y + random.normal(size=(80, 6)) + random.normal(size=(8, 6))[labels]
    found = cka(Y, Z, debiased=True, groups=labels, grouping="fixed")

    def hsic(A, B):
        n, K, L = 80, reference.linear(A - A.mean(0)), reference.linear(B - B.mean(0))
        apart = K * L - np.diag(np.diag(K * L))
        lacking = sum(apart[np.ix_(labels == g, labels == g)].sum() / 9 for g in range(8)) - apart.sum() / (n - 1)
        return n * (n - 3) * reference.debiased_hsic(K, L) + lacking

    middle = hsic(Y, Z) / np.sqrt(hsic(Y, Y) * hsic(Z, Z))
    assert found.value == pytest.approx(reference.cka(Y, Z, True), rel=1e-9)
    assert min(abs(middle - (found.low + found.high) / 2), 1) < 1e-9
    for kernel in ("rbf", "polynomial", "distance"):
        other = cka(Y, Z, kernel, True, labels, grouping="fixed")
        assert other.low < other.value < other.high


def test_a_sample_of_groups_leaves_out_a_group_at_a_time():
    Y, Z = reference.related(60, 5, 4)
    labels = np.arange(60) % 11
    for debiased in (False, True):
        found = cka(Y, Z, debiased=debiased, groups=labels, grouping="sampled")
        without = [reference.cka(Y[labels != g], Z[labels != g], debiased) for g in range(11)]
        assert found.value == pytest.approx(reference.cka(Y, Z, debiased), rel=1e-9)
        assert found.standard_error == pytest.approx(reference.jackknife(np.array(without)), rel=1e-7)
        means = [np.array([X[labels == g].mean(0) for g in range(11)]) for X in (Y, Z)]
        found = cka(Y, Z, debiased=debiased, groups=labels, grouping="means")
        assert found.value == pytest.approx(reference.cka(*means, debiased), rel=1e-9)
        assert found.n == (60,)
        expected = cka(*means, debiased=debiased)
        assert found.low == pytest.approx(expected.low, rel=1e-9)
        assert found.high == pytest.approx(expected.high, rel=1e-9)


def test_too_few_groups_have_a_reason():
    Y, Z = reference.related(30, 5, 5)
    (row,) = compare({"sft": Y}, Z, ["cka-linear-means"], groups=[0, 1, 2] * 10).similarity
    assert (row["value"], row["reason"]) == (None, "only 3 groups have a mean; 4 are needed")
    for groups in (1, 9):
        (row,) = compare({"sft": Y}, Z, ["cka-linear-sampled"], groups=[i % groups for i in range(30)]).similarity
        assert row["value"] is not None and row["standard_error"] is None
        assert row["reason"] == f"no standard error: {groups} groups are too few, 10 are needed"
    (row,) = compare({"sft": Y}, Z, ["cka-linear-sampled"], groups=[0] * 20 + list(range(10))).similarity
    assert row["standard_error"] > 0
    Y[1:], Z[1:] = np.round(Y[1:] * 1e-9), np.round(Z[1:] * 1e-9)  # only the first prompt, alone in its group, varies
    with pytest.warns(UserWarning, match="28 of 30 rows repeat another one in control and in sft"):
        (row,) = compare({"sft": Y}, Z, ["cka-linear-sampled"], groups=list(range(30))).similarity
    assert row["standard_error"] is None and "with one group less" in row["reason"]
    with pytest.raises(SimilarityError, match=r"Did you mean 'sampled'"):
        cka(Y, Z, groups=[0, 1] * 15, grouping="sample")
    with pytest.raises(SimilarityError, match="need `groups`"):
        similarity(Y, Z, "cka-linear-sampled-debiased")


def test_every_interval_that_is_printed_says_what_it_assumes():
    Y, Z = reference.related(40, 5, 6, layers=2)
    labels = np.arange(40) % 5
    assert "interval, prompts taken as independent\n" in repr(cka(Y, Z, debiased=True))
    for id, estimator in ESTIMATORS.items():
        if estimator.view is None or estimator.view.shift:
            continue
        title = repr(similarity(Y, Z, id, groups=labels)).splitlines()[1]
        grouped = "groups taken as independent" if estimator.view.grouping in ("sampled", "means") else "prompts taken"
        assert grouped in title, id


def test_a_comparison_of_one_pair_has_columns_and_of_more_a_table():
    Y, Z = reference.related(40, 5, 7, layers=3)
    one = compare({"sft": Y}, Z, ["cka-linear"])
    assert one.value.tolist() == cka(Y, Z).value.tolist() == one.table["value"].tolist()
    several = compare({"pretrained": Y, "sft": Z}, Z)
    assert len(several.table) == 12
    with pytest.raises(SimilarityError, match="4 pairs of model and estimator; read `table`"):
        several.value  # noqa: B018
    with pytest.raises(SimilarityError, match="give them first and the control second"):
        compare(Z, {"sft": Y})
