"""Kernels give the same bits, no kernel is planned anew for every shape, and what cannot do so is told."""

from __future__ import annotations

import math

import pytest
import torch

from mossa.models.batches import Allowance, for_each_batch
from mossa.models.kernels import may_vary, same_bits, unplanned_attention


def put() -> None:
    """Do what has no deterministic variant on any device."""
    torch.zeros(4).put_(torch.tensor([1]), torch.tensor([2.0]))


def test_an_operation_that_may_vary_is_refused_and_then_let_through() -> None:
    with same_bits():
        with pytest.raises(RuntimeError) as refused:
            put()
        assert may_vary(refused.value)
        put()
        assert not may_vary(refused.value), "once is enough: a second error is another"
        assert not may_vary(RuntimeError("out of memory")) and not may_vary(ValueError("deterministic implementation"))
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_within_batches_no_attention_is_planned_and_afterwards_all_is_as_before() -> None:
    seen: list[bool] = []

    def look(_group: list[int]) -> None:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())

    for before in (True, False):
        torch.backends.cuda.enable_cudnn_sdp(before)
        try:
            for_each_batch([3, 2], 4, Allowance(), look, math.inf)
            assert torch.backends.cuda.cudnn_sdp_enabled() is before
            with pytest.raises(ValueError), unplanned_attention():
                raise ValueError
            assert torch.backends.cuda.cudnn_sdp_enabled() is before
        finally:
            torch.backends.cuda.enable_cudnn_sdp(True)
    assert seen == [False] * 4
