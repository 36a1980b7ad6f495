"""Applies a function to several items in threads, one core each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import device

Item = TypeVar("Item")
Found = TypeVar("Found")


def side_by_side(work: Callable[[Item], Found], items: Sequence[Item], where: device) -> list[Found]:
    """Return `work(item)` for all items, in their order; on the CPU in as many threads as torch may use.

    NumPy's BLAS and torch keep separate threads, which wait for each other: two threads per product took longer than
    one. Layers are independent, so threads are better spent on whole layers. Meanwhile both libraries are limited to
    one thread in the whole process, which also keeps numbers the same to the bit whatever the number of threads. On a
    GPU, and where torch has one thread, items are done one after the other.
    """
    import torch
    from threadpoolctl import threadpool_limits

    allowed = torch.get_num_threads()
    if where.type != "cpu" or len(items) < 2 or allowed < 2:
        return [work(item) for item in items]
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), ThreadPoolExecutor(min(allowed, len(items))) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(allowed)
