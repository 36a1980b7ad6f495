"""The GPU of a process, if it has one: what it is told before it starts, where steps compute, what it holds."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

from mossa.errors import ModelNote
from mossa.models.batches import ran_out_of_memory
from mossa.models.placement import is_split, places_of

Found = TypeVar("Found")


def prepare_gpu(device: str) -> None:
    """Set, before the first operation, what CUDA's libraries read when they start, unless the user has set it.

    The allocator joins blocks, for batches of many shapes leave holes. What names no GPU goes to this one.
    """
    if (chosen := computing_device(device)).type == "cuda":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        torch.cuda.set_device(chosen)


def computing_device(device: str) -> torch.device:
    """Return the device in `cpu`, `cuda:i` or, of several places, the first of them."""
    return torch.device(next(iter(places_of(device))) if is_split(device) else device)


def on_device(work: Callable[[torch.device], Found], device: torch.device) -> Found:
    """Return what `work` gives on `device`, or on the CPU, with a `ModelNote`, if memory runs out there."""
    try:
        return work(device)
    except Exception as error:
        if device.type == "cpu" or not ran_out_of_memory(error):
            raise
    free_cached()
    warnings.warn(ModelNote(f"memory of {device} ran out during a comparison, so it ran on the CPU."), stacklevel=2)
    return work(torch.device("cpu"))


def free_cached() -> None:
    """Give what torch keeps of a GPU's memory for later use back to other processes; the peak is counted anew."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def gpu_memory() -> dict[str, int]:
    """Return, for the manifest, the most bytes of a GPU that tensors took since memory was freed, if it has one."""
    return {"peak_gpu_memory": torch.cuda.max_memory_allocated()} if torch.cuda.is_initialized() else {}
