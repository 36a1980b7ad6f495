"""Mapped tensors are the tensors that were written, to the bit, and those of bfloat16 lie on the disk in two bytes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

from mossa.representations import represent_tokens
from mossa.store.tensors import map_tensors, save_tensors, tensor_of
from tests.small import ARCHITECTURES, make_model

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 7))
BITS = SHAPES.flatmap(lambda shape: arrays(np.uint32, shape))  # every float32 there is: NaN of all kinds, inf, -0
Array = np.ndarray[Any, Any]


def written(tmp_path_factory: pytest.TempPathFactory, array: Array) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "x.safetensors"
    save_tensors({"x": array, "index": np.arange(len(array))}, path)
    return path


def assert_same_bits(found: Array, expected: Array) -> None:
    assert isinstance(found, np.ndarray) and found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_array_equal(np.ascontiguousarray(found).view(np.uint32), expected.view(np.uint32))


@given(shape=st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 7)), seed=st.integers(0, 99))
def test_mapped_is_what_safetensors_reads(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], seed: int
) -> None:
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
    save_file({"x": np.full(3, 0.1, np.float32)}, path)
    map_tensors(path)["x"][0] = 1
    np.testing.assert_array_equal(load_file(path)["x"], np.full(3, 0.1, np.float32))


@given(bits=BITS)
def test_what_bfloat16_cannot_hold_is_the_file_of_float32(
    tmp_path_factory: pytest.TempPathFactory, bits: Array
) -> None:
    bits.flat[-1] |= 1  # one number of them all
    array = bits.view(np.float32)
    path = written(tmp_path_factory, array)
    save_file({"x": array, "index": np.arange(len(array))}, path.with_suffix(".plain"))
    assert path.read_bytes() == path.with_suffix(".plain").read_bytes()
    assert_same_bits(map_tensors(path)["x"][...], array)


@given(bits=BITS, data=st.data())
def test_what_bfloat16_holds_takes_two_bytes_and_is_read_as_the_same_float32(
    tmp_path_factory: pytest.TempPathFactory, bits: Array, data: st.DataObject
) -> None:
    array = (bits & 0xFFFF0000).view(np.float32)
    path = written(tmp_path_factory, array)
    stored = load_torch(path)
    assert stored["x"].dtype == torch.bfloat16 and stored["index"].tolist() == list(range(len(array)))
    mapped = map_tensors(path)["x"]
    assert (mapped.shape, mapped.ndim, mapped.dtype, len(mapped)) == (array.shape, 3, np.float32, len(array))
    assert_same_bits(np.asarray(mapped), array)
    layer = data.draw(st.integers(0, array.shape[1] - 1))
    rows = np.array(data.draw(st.lists(st.integers(0, len(array) - 1))), dtype=int)
    chosen = np.isin(np.arange(len(array)), rows)
    for at in ((slice(None), layer), (rows, layer), (chosen, layer), rows, chosen):
        assert_same_bits(mapped[at], array[at])
    assert tensor_of(mapped).dtype == torch.bfloat16
    torch.testing.assert_close(tensor_of(mapped).float(), torch.from_numpy(array), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_in_bfloat16_gives_what_bfloat16_holds(architecture: str, tmp_path: Path) -> None:
    model = make_model(architecture)
    if hasattr(model.config, "num_local_experts"):
        model.set_experts_implementation("eager")
    for dtype in (torch.float32, torch.bfloat16):
        found = represent_tokens(model.to(dtype), [[1, 5, 9, 12], [1, 7, 3], [1, 30, 31, 8, 4]]).numpy()
        save_tensors({"x": found}, tmp_path / "x.safetensors")
        assert load_torch(tmp_path / "x.safetensors")["x"].dtype == dtype
        assert_same_bits(map_tensors(tmp_path / "x.safetensors")["x"][...], found)


def test_a_layer_is_read_without_the_others(tmp_path: Path) -> None:
    array = np.ones((64, 128, 1024), np.float32)  # 33 MB, a layer of it 262 kB
    save_tensors({"x": array}, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").stat().st_size < array.nbytes / 2 + 200
    tracemalloc.start()
    mapped = map_tensors(tmp_path / "x.safetensors")["x"]
    assert all(mapped[:, layer].all() for layer in range(128)) and tensor_of(mapped)[:, 1].float().all()
    assert tracemalloc.get_traced_memory()[1] < 4 * array[:, 0].nbytes
    tracemalloc.stop()
