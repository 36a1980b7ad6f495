"""Tensors on disk as arrays that are read when they are looked at: all tasks' representations do not fit in memory.

A model that computes in bfloat16 gives float32 numbers whose lower half is zero. Such numbers lie on the disk in two
bytes, and are the same to the bit when they are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

Array = np.ndarray[Any, Any]
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "BF16": np.dtype("<u2")}


class Halved:
    """An array of float32 that lies on the disk in bfloat16; what is taken out of it, as of an array, is float32.

    `bits` are the upper halves of its numbers, mapped.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, bits: np.ndarray[Any, np.dtype[np.uint16]]) -> None:
        self.bits, self.shape, self.ndim = bits, bits.shape, bits.ndim

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, at: Any) -> Array:
        return np.left_shift(self.bits[at], 16, dtype=np.uint32).view(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[...].astype(dtype or self.dtype, copy=False)

    @property
    def tensor(self) -> torch.Tensor:
        """Return it as a tensor of bfloat16, mapped still."""
        return torch.from_numpy(self.bits).view(torch.bfloat16)


def tensor_of(array: Array | Halved) -> Any:
    """Return what torch can read of a mapped array, mapped still: a tensor of bfloat16, or the array of float32."""
    return array.tensor if isinstance(array, Halved) else array


def save_tensors(tensors: Mapping[str, Array], path: Path) -> None:
    """Write float32 and int64 arrays to a safetensors file: float32 in bfloat16 if that holds all of it to the bit."""
    save_file({name: _smallest(array) for name, array in tensors.items()}, path)


def _smallest(array: Array) -> torch.Tensor:
    """Return the array as a tensor: of bfloat16, the upper half of float32, if the lower half of every number is 0."""
    if array.dtype == np.float32:
        halves = np.ascontiguousarray(array, "<f4").view("<u2").reshape(*array.shape, 2)
        if not halves[..., 0].any():
            return Halved(halves[..., 1].astype(np.uint16)).tensor
    return torch.from_numpy(array)


def map_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file by name, mapped; what is written to them stays here.

    Those of float32 and int64 are arrays, and those of bfloat16 `Halved` ones, which give float32. The file is 8 bytes
    that give the length of a JSON header, the header, and the tensors one after the other (safetensors' own description
    of its format).
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    found: dict[str, Any] = {}
    for name, entry in header.items():
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        begin = 8 + length + entry["data_offsets"][0]
        # nothing can be mapped of an empty tensor
        array: Array = np.memmap(path, dtype, "c", begin, shape) if all(shape) else np.empty(shape, dtype)
        found[name] = Halved(array) if entry["dtype"] == "BF16" else array
    return found
