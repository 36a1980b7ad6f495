"""Mapped tensors are the tensors that safetensors reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mossa.store.tensors import map_tensors


@given(shape=st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 7)), seed=st.integers(0, 99))
def test_mapped_is_what_safetensors_reads(tmp_path_factory, shape: tuple[int, int, int], seed: int) -> None:
    path = tmp_path_factory.mktemp("mapped") / "x.safetensors"
    drawn = np.random.default_rng(seed)
    tensors = {
        "representations": drawn.normal(size=shape).astype(np.float32),
        "index": drawn.integers(-9, 9, shape[0]),
    }
    save_file(tensors, path, metadata={"a": "b"} if seed % 2 else None)
    mapped = map_tensors(path)
    assert mapped.keys() == load_file(path).keys()
    for name, array in load_file(path).items():
        assert mapped[name].dtype == array.dtype and mapped[name].shape == array.shape
        np.testing.assert_array_equal(mapped[name], array)


def test_writing_to_it_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path)
    map_tensors(path)["x"][0] = 1
    assert not load_file(path)["x"].any()
