"""Which kernels compute: the same bits every time, and none that waits for a plan at every new shape of a batch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# What torch says of an operation that has no deterministic variant on this device.
VARIES = ("deterministic implementation", "use_deterministic_algorithms")


@contextmanager
def same_bits() -> Iterator[None]:
    """Within the block, use operations whose result does not depend on timing.

    On an H200 a training step takes as long as without (docs/project/performance.md). An operation that has no such
    variant raises `RuntimeError`; `may_vary` then lets it through.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    guard: Any = torch.utils.deterministic
    fill = guard.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    guard.fill_uninitialized_memory = False  # it shows bugs, and costs a write per tensor
    try:
        with warnings.catch_warnings():
            # Of what `may_vary` lets through, torch warns each time; the caller tells it once, as `varying`.
            warnings.filterwarnings("ignore", message="(?!an operation).*deterministic (implementation|algorithm)")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        guard.fill_uninitialized_memory = fill


def may_vary(error: BaseException) -> bool:
    """Let operations without a deterministic variant through from now on, if `error` is about one; tell whether so."""
    if not isinstance(error, RuntimeError) or not any(words in str(error) for words in VARIES):
        return False
    if torch.is_deterministic_algorithms_warn_only_enabled():
        return False
    torch.use_deterministic_algorithms(True, warn_only=True)
    return True


def varying(error: BaseException) -> str:
    """Return what to tell of an operation that `may_vary` has let through."""
    what = str(error).split(".")[0][:200]
    return (
        "an operation of this model has no deterministic variant on this device, so a repeated run may differ "
        f"({what})."
    )


@contextmanager
def unplanned_attention() -> Iterator[None]:
    """Within the block, leave out cuDNN's attention, which builds a plan for every new (batch, length).

    PyTorch prefers it on Hopper. Batches of a study hardly ever have the same shape: on an H200 each new one cost about
    0.15 s, most of a training step (docs/project/performance.md).
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
