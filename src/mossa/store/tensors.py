"""Tensors on disk as arrays that are read when they are looked at: all tasks' representations do not fit in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


def map_tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the float32 and int64 tensors of a safetensors file by name, mapped; what is written to them stays here.

    The file is 8 bytes that give the length of a JSON header, the header, and the tensors one after the other
    (safetensors' own description of its format).
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: np.memmap(
            path,
            dtype=DTYPES[entry["dtype"]],
            mode="c",
            offset=8 + length + entry["data_offsets"][0],
            shape=tuple(entry["shape"]),
        )
        if all(entry["shape"])
        else np.empty(entry["shape"], DTYPES[entry["dtype"]])  # nothing can be mapped of an empty tensor
        for name, entry in header.items()
    }
