"""What arrays may be: real numbers of any kind, each prompt once, every label known; else one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mossa.errors import SimilarityError
from mossa.similarity import cka, compare, layer_map, permutation_test, spectrum

RANDOM = np.random.default_rng(0)
Y, Z = (np.round(RANDOM.standard_normal((40, 3, 12)) * 16) for _ in "YZ")  # whole numbers, exact in every format
EXPECTED = cka(Y, Z, debiased=True).value
KINDS: list[Callable[[np.ndarray], Any]] = [
    lambda X: X.astype("<f4"),
    lambda X: X.astype(">f2"),
    lambda X: X.astype(">f4"),
    lambda X: X.astype(">f8"),
    lambda X: X.astype(np.longdouble),
    lambda X: X.astype(">i4"),
    lambda X: X.astype(np.int8),
    lambda X: np.asfortranarray(X),
    lambda X: X[::-1].copy()[::-1],
    lambda X: np.ma.masked_array(X, mask=False),
    lambda X: torch.from_numpy(X).bfloat16(),
    lambda X: torch.from_numpy(X).half().requires_grad_(),
    lambda X: torch.from_numpy(X).to(torch.int16),
]


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_and_byte_order_gives_the_same_number(kind: Callable[[np.ndarray], Any]) -> None:
    for one, other in ((kind(Y), Z), (Y, kind(Z)), (kind(Y), kind(Z)), (kind(Y), torch.from_numpy(Z).float())):
        found = cka(one, other, debiased=True).value
        assert isinstance(found, torch.Tensor) == isinstance(one, torch.Tensor)
        assert np.allclose(found, EXPECTED, atol=2e-5)
    assert layer_map(kind(Y), Z).shape == (3, 3) and spectrum(kind(Y))[0].n == 40


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (Y.astype(complex), "Y is an array of complex128; give one of real numbers"),
        (Y.astype(object), "Y is an array of object"),
        (Y.astype("U"), "Y is an array of <U32"),
        (Y.astype("datetime64[s]"), r"Y is an array of datetime64\[s\]"),
        (np.ma.masked_greater(Y, 3), "Y has masked values; fill them with NaN"),
        (torch.from_numpy(Y).to(torch.complex64), "Y is a tensor of torch.complex64"),
        (torch.from_numpy(Y).to_sparse(), "torch.sparse_coo.; give a dense one"),
        (Y.tolist(), "Y is a list; give a NumPy array"),
        (pd.DataFrame(Y[:, 0]), "Y is a DataFrame; give a NumPy array"),
    ],
)
def test_what_holds_no_real_numbers_is_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(SimilarityError, match=sentence):
        cka(given, Z)


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ([float("nan")] * 2 + [1.0] * 38, r"the label of row 0 is nan \(2 of 40 are missing\)"),
        (np.array([0.0] * 39 + [np.nan]), r"the label of row 39 is nan \(1 of 40"),
        ([None] * 3 + ["a"] * 37, r"the label of row 0 is None \(3 of 40 are missing\)"),
        ([pd.NA] + ["a"] * 39, "holds what cannot be a label"),
        (pd.Series([None, *[1.0] * 39]), "the label of row 0 is nan"),
        ([["a"]] * 40, "holds what cannot be a label"),
        (np.zeros((40, 2)), "holds what cannot be a label"),
    ],
)
def test_a_label_that_is_none_is_a_sentence(groups: Any, sentence: str) -> None:
    with pytest.raises(SimilarityError, match=sentence):
        cka(Y, Z, groups=groups)


def test_labels_are_what_they_say_whatever_holds_them() -> None:
    labels = [index % 2 for index in range(40)]
    expected = cka(Y, Z, groups=labels).value
    for given in (np.array(labels), torch.tensor(labels), pd.Series(labels), tuple(map(str, labels))):
        assert np.array_equal(cka(Y, Z, groups=given).value, expected)


def test_repeated_prompts_are_told() -> None:
    noise = 1e-6 * RANDOM.standard_normal((20, 3, 12))
    A, B = (np.concatenate([X, X[:20] + noise]) for X in (Y, Z))
    for call in (
        lambda: cka(A, B),
        lambda: compare({"one": B, "pretrained": A}, A),
        lambda: permutation_test(A, B, permutations=2),
    ):
        with pytest.warns(UserWarning, match="20 of 60 rows repeat another one in .*keep each prompt once"):
            call()


def test_rows_that_only_look_alike_are_not_told() -> None:
    """Neither rows equal on one side alone, nor near a large offset, nor beside rows that are not finite."""
    alike = Y.copy()
    alike[1] = alike[0]
    far = np.concatenate([Y + 1e6, np.full((2, 3, 12), np.nan)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cka(alike, Z)
        compare({"one": np.concatenate([Z, Z[:2]])}, far, non_finite="drop")
