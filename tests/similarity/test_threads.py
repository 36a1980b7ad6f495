"""Threads change how long it takes and nothing else."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from mossa.errors import SimilarityError
from mossa.similarity import compare, layer_map, permutation_test
from mossa.similarity.threads import side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def three_threads() -> Iterator[None]:
    allowed = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(allowed)


def layers_of(seed: int) -> torch.Tensor:
    return torch.randn(60, 5, 33, generator=torch.Generator().manual_seed(seed))


def everything() -> list[object]:
    Y, Z = layers_of(1), layers_of(2)
    rows = compare({"pretrained": Z, "sft": Y + Z}, Y, baseline="pretrained")
    test = permutation_test(Y[:, 0], Z[:, 0], permutations=30)
    return [rows.similarity, rows.difference, layer_map(Y, Z, debiased=True).tolist(), test.null.tolist()]


@pytest.mark.usefixtures("three_threads")
def test_three_threads_give_the_same_bits_as_one() -> None:
    several = everything()
    torch.set_num_threads(1)
    assert everything() == several


@pytest.mark.usefixtures("three_threads")
def test_work_is_spread_over_threads_of_one_core_each_and_answers_in_order() -> None:
    together = threading.Barrier(3, timeout=20)  # passes only if three are at work at once

    def work(item: int) -> tuple[int, int, set[int]]:
        together.wait()
        return item, torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info()}

    assert side_by_side(work, [7, 5, 9], CPU) == [(item, 1, {1}) for item in (7, 5, 9)]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_the_first_layer_that_fails_is_the_one_that_is_named_and_threads_are_given_back() -> None:
    broken = layers_of(1).numpy()
    broken[3, 1] = np.nan
    broken[4, 4] = np.inf
    with pytest.raises(SimilarityError, match="layer 2"):
        compare({"pretrained": broken}, layers_of(2).numpy())
    assert torch.get_num_threads() == 3
