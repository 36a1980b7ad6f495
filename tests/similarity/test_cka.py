"""CKA against its definition, its laws and the data that made others wrong."""

from __future__ import annotations

import importlib

import cka as pytorch_cka
import ckatorch.core
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mossa.errors import SimilarityError
from mossa.similarity import cka, cka_of_batches, layer_map, permutation_test, similarity
from mossa.similarity.products import cheaper_in_features
from tests.similarity import reference

shapes = st.tuples(st.integers(5, 24), st.integers(1, 30), st.integers(0, 10**6))
both = pytest.mark.parametrize("debiased", [False, True])


def rotation(d, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_plain_and_debiased_follow_their_definitions_and_so_does_the_jackknife(shape):
    Y, Z = reference.related(*shape)
    for debiased in (False, True):
        values = reference.left_out(lambda y, z, b=debiased: reference.cka(y, z, b), Y, Z)
        if not np.isfinite(values).all():  # the debiased HSIC of one side with itself is not positive
            continue
        found = cka(Y, Z, debiased=debiased)
        assert found.value == pytest.approx(reference.cka(Y, Z, debiased), rel=1e-8, abs=1e-10)
        assert found.standard_error == pytest.approx(reference.jackknife(values), rel=1e-6, abs=1e-9)


@both
@pytest.mark.parametrize("kernel", ["rbf", "polynomial"])
def test_other_kernels_follow_their_definitions(kernel, debiased):
    Y, Z = reference.related(40, 6, 1)
    expected = reference.cka(Y, Z, debiased, getattr(reference, kernel))
    assert cka(Y, Z, kernel, debiased).value == pytest.approx(expected, rel=1e-9)
    assert cka(Y, Z, "rbf", debiased, bandwidth=0.4).value == pytest.approx(
        reference.cka(Y, Z, debiased, lambda X: reference.rbf(X, 0.4)), rel=1e-9
    )


def test_the_bandwidth_of_the_public_demo():
    random = np.random.RandomState(1337)  # the reference notebook of Kornblith et al. draws so, and prints .65483
    X = random.randn(100, 10)
    Y = random.randn(100, 10) + X
    assert round(float(cka(X, Y, "rbf-demo", bandwidth=0.5).value), 5) == 0.65483
    assert round(float(cka(X, Y, "rbf", bandwidth=0.5).value), 5) == 0.65403
    for n in (30, 31):  # the matrix has evenly or oddly many entries
        expected = reference.cka(X[:n], Y[:n], True, reference.rbf_demo)
        assert cka(X[:n], Y[:n], "rbf-demo", True).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [100.0, 1000.0, -3000.0])
@pytest.mark.parametrize("id", ["cka-linear-debiased", "cka-rbf", "procrustes", "rsa-pearson"])
def test_a_large_common_offset_in_16_bits_does_not_hide_that_they_vary(dtype, offset, id):
    Y, Z = (torch.from_numpy(X) for X in reference.related(80, 24, 12))
    Y = (Y + offset).to(dtype)
    expected = similarity(Y.double(), Z, id).value
    assert float(similarity(Y, Z, id).value) == pytest.approx(float(expected), rel=1e-5)
    constant = torch.full_like(Y, offset)
    with pytest.raises(SimilarityError, match="do not vary"):
        similarity(constant, Z, id)


@both
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=2, max_size=6), d=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_within_groups_follows_its_definition_and_leaves_one_out_exactly(debiased, sizes, d, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    groups = np.random.default_rng(seed).permutation(groups)
    if len(groups) < 4 or sum(size > 1 for size in sizes) < 2:
        return
    Y, Z = reference.related(len(groups), d, seed)
    hsic = [reference.within_hsic(A, B, groups, debiased) for A, B in ((Y, Z), (Y, Y), (Z, Z))]
    if hsic[1] <= 1e-6 or hsic[2] <= 1e-6:
        return
    found = cka(Y, Z, debiased=debiased, groups=groups)
    assert found.value == pytest.approx(reference.within_cka(Y, Z, groups, debiased), rel=1e-7, abs=1e-9)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = reference.left_out(lambda y, z, g: reference.within_cka(y, z, g, debiased), Y, Z, groups)
    if found.standard_error is not None and np.isfinite(values).all():
        strata = [values[groups == g] for g in range(len(sizes))]
        variance = sum(reference.variance_within(v, float(found.value)) for v in strata)
        assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-5, abs=1e-8)


@both
@settings(max_examples=25, deadline=None)
@given(shape=shapes, scale=st.floats(1e-4, 1e4))
def test_laws(debiased, shape, scale):
    n, d, seed = shape
    n += 8
    Y, Z = reference.related(n, d, seed)
    value = cka(Y, Z, debiased=debiased).value
    turned = (Y @ rotation(d, seed)) * scale + np.random.default_rng(seed).normal(size=d)
    assert cka(Z, Y, debiased=debiased).value == pytest.approx(value, abs=1e-9)  # symmetry
    assert cka(Y, Y, debiased=debiased).value == pytest.approx(1, abs=1e-12)
    assert cka(turned, Z, debiased=debiased).value == pytest.approx(value, abs=1e-9)
    order = np.random.default_rng(seed).permutation(n)
    assert cka(Y[order], Z[order], debiased=debiased).value == pytest.approx(value, abs=1e-9)
    if not debiased:
        assert 0 <= value <= 1 + 1e-12


def test_linear_cka_changes_under_a_general_linear_map():
    Y, Z = reference.related(200, 10, 0)
    stretched = Y * np.array([10.0] + [1.0] * 9)
    assert abs(cka(stretched, Z).value - cka(Y, Z).value) > 0.1
    assert cka(stretched, Z, zscored=True).value == pytest.approx(cka(Y, Z, zscored=True).value, abs=1e-9)


@both
@pytest.mark.parametrize("scale", [1e-4, 0.3, 1e4, 1e-15, 1e12])
def test_scale_changes_nothing_in_float32(scale, debiased):
    Y, Z = reference.like_a_language_model(60, 90, 2)
    value = cka(Y, Z, debiased=debiased).value
    assert cka(Y * np.float32(scale), Z, debiased=debiased).value == pytest.approx(value, rel=1e-6)
    exact = np.float32(2.0 ** round(np.log2(scale)))
    assert cka(Y * exact, Z, debiased=debiased).value == value


@both
@pytest.mark.parametrize(("n", "d"), [(60, 200), (300, 20), (150, 150)])
@pytest.mark.parametrize("kind", ["well-conditioned", "like a language model", "offset"])
def test_float32_is_within_1e_6_of_float64(kind, n, d, debiased):
    if kind == "well-conditioned":
        Y, Z = (X.astype(np.float32) for X in reference.related(n, d, 3))
    else:
        Y, Z = reference.like_a_language_model(n, d, 3)
    if kind == "offset":
        Y[:, 0] += 1000
        Z[:, 1] -= 1000
    value = cka(Y, Z, debiased=debiased).value
    assert value == pytest.approx(reference.cka(Y, Z, debiased), rel=1e-6)


@both
def test_feature_space_and_prompt_space_agree(debiased):
    Y, Z = reference.related(200, 8, 4)
    wide = [np.hstack([X, np.zeros((200, 400))]) for X in (Y, Z)]  # the same Gram matrices
    assert cheaper_in_features(200, 8, 1)
    assert not cheaper_in_features(200, 408, 1)
    narrow_found, wide_found = cka(Y, Z, debiased=debiased), cka(*wide, debiased=debiased)
    assert narrow_found.value == pytest.approx(wide_found.value, rel=1e-12)
    assert narrow_found.standard_error == pytest.approx(wide_found.standard_error, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "d", "m"), [(1000, 499, 1), (1000, 250, 1), (1000, 249, 1), (1000, 214, 2), (1000, 215, 2)]
)
def test_feature_space_is_not_cheaper_merely_because_d_is_below_n(n, d, m):
    symmetric, full = 1, 2
    features = (1 + m) * symmetric * n * d**2 + m * full * n * d**2
    prompts = (1 + m) * symmetric * n**2 * d
    assert cheaper_in_features(n, d, m) == (2 * features < prompts)


@both
@settings(max_examples=15, deadline=None)
@given(shape=shapes, cuts=st.lists(st.integers(1, 20), max_size=4), offset=st.sampled_from([0.0, 100.0]))
def test_streaming_is_the_whole(debiased, shape, cuts, offset):
    n, d, seed = shape
    Y, Z = reference.related(n + 6, d, seed, layers=2)
    Y = Y + offset
    pieces = [np.array_split(X, sorted(cut for cut in set(cuts) if cut < n)) for X in (Y, Z)]
    found = cka_of_batches(zip(*pieces, strict=True), debiased=debiased)
    assert found == pytest.approx(cka(Y, Z, debiased=debiased).value, rel=1e-7, abs=1e-9)


@both
def test_a_layer_map_holds_the_value_of_every_pair(debiased, monkeypatch):
    Y, Z = reference.related(30, 12, 5, layers=3)
    Z = np.concatenate([Z, Y[:, :1]], axis=1)
    expected = [[reference.cka(Y[:, i], Z[:, j], debiased) for j in range(4)] for i in range(3)]
    assert layer_map(Y, Z, debiased) == pytest.approx(np.array(expected), rel=1e-9)
    module = importlib.import_module("mossa.similarity.layer_map")
    monkeypatch.setattr(module, "BLOCK_VALUES", 7 * 11**2)  # blocks of 11 prompts
    assert layer_map(Y, Z, debiased) == pytest.approx(np.array(expected), rel=1e-9)


@both
def test_gram_matrices_in_blocks_give_the_same_as_whole(debiased, monkeypatch):
    from mossa.similarity import products

    Y, Z = reference.related(50, 60, 6)
    whole = cka(Y, Z, debiased=debiased)
    monkeypatch.setattr(products, "BLOCK", 17)
    monkeypatch.setattr(products, "STRIP", 5)
    in_blocks = cka(Y, Z, debiased=debiased)
    assert in_blocks.value == pytest.approx(whole.value, rel=1e-12)
    assert in_blocks.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


def test_peers_agree_where_they_are_right():
    Y, Z = reference.related(80, 20, 7)
    y, z = torch.from_numpy(Y), torch.from_numpy(Z)
    assert cka(Y, Z).value == pytest.approx(float(ckatorch.core.cka_base(y, z, method="hsic")), rel=1e-9)
    assert cka(Y, Z).value == pytest.approx(float(ckatorch.core.cka_base(y, z, method="fro_norm")), rel=1e-9)
    unbiased = float(ckatorch.core.cka_batch(y[None], z[None]))
    assert cka(Y, Z, debiased=True).value == pytest.approx(unbiased, rel=1e-9)
    theirs = pytorch_cka.cka_from_features([y], [z])
    assert cka(Y, Z, debiased=True).value == pytest.approx(float(theirs[0, 0]), rel=1e-9)


def test_the_rv_coefficient_is_linear_cka():
    import hoggorm

    Y, Z = reference.related(40, 5, 8)
    centred = [X - X.mean(0) for X in (Y, Z)]
    expected = hoggorm.RVcoeff(centred)[0, 1]
    assert similarity(Y, Z, "rv").value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_answer_is_where_the_question_was(dtype):
    Y, Z = reference.related(50, 9, 9, layers=2)
    y, z = torch.from_numpy(Y).to(dtype), torch.from_numpy(Z).to(dtype)
    found = cka(y, z, debiased=True)
    assert isinstance(found.value, torch.Tensor) and found.value.shape == (2,)
    assert found.value.dtype == torch.float64 and found.value.device == y.device
    in_numpy = cka(y.double().numpy(), z.double().numpy(), debiased=True)
    assert isinstance(in_numpy.value, np.ndarray)
    assert found.value.numpy() == pytest.approx(in_numpy.value, rel=1e-6)
    single = cka(y[:, 1], z[:, 1], debiased=True)
    assert single.value.ndim == 0
    assert float(single.value) == pytest.approx(float(found.value[1]), rel=1e-6)


def test_sides_of_different_precision_are_compared_in_the_higher_one():
    Y, Z = reference.related(40, 6, 13, layers=2)
    narrow = Y.astype(np.float32)
    expected = cka(narrow.astype(np.float64), Z, debiased=True).value
    assert cka(narrow, Z, debiased=True).value == pytest.approx(expected, rel=1e-12)
    assert cka(torch.from_numpy(Z), torch.from_numpy(narrow).bfloat16()).value.dtype == torch.float64
    assert layer_map(narrow, Z, True).diagonal() == pytest.approx(expected, rel=1e-9)
    assert permutation_test(narrow, Z, permutations=9).value == pytest.approx(cka(narrow, Z).value, rel=1e-9)


def test_a_shift_is_the_cka_of_the_changes():
    B, change = reference.related(60, 7, 10)
    E, C = B + 0.1 * change, B + 0.2 * reference.related(60, 7, 11)[0]
    expected = reference.cka(E - B, C - B, True)
    assert cka(E, C, debiased=True, origin=B).value == pytest.approx(expected, rel=1e-9)
