"""A study in bfloat16 takes half the disk; its numbers are those of files in float32, which stay valid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from mossa.cost.estimate import estimate
from mossa.run.run import prepare
from mossa.store.disk import checksum
from mossa.store.tensors import map_tensors
from mossa.study import load_study
from tests.run.command import assert_same, run_again, tables

UNITS = "runs/small/units"
FILE = "representations.safetensors"


def as_before(file: Path) -> None:
    """Write a file of representations, and its manifest, as they were when all were float32."""
    arrays = {name: np.array(array) for name, array in map_tensors(file).items()}
    save_file(arrays, file)
    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest["files"][FILE] = [file.stat().st_size, checksum(file)]
    (file.parent / "manifest.json").write_text(json.dumps(manifest))


def test_tables_are_the_same_to_the_bit_from_half_the_bytes(settings: dict[str, Any], tmp_path: Path) -> None:
    parts = {"base": {**settings["base"], "dtype": "bfloat16"}, "control": {"seeds": [0]}, "place": False}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**settings, **parts}))
    done, failed, _ = run_again(tmp_path)
    assert done and not failed
    expected = tables(tmp_path)
    prepared = prepare(load_study(tmp_path / "small.yaml"), tmp_path / "runs")
    files = {f"{path.parent.parent.name}/{path.parent.name}": path for path in (tmp_path / UNITS).rglob(FILE)}
    works = estimate(prepared, gpu="h100").works
    assert files.keys() == {name for name in works if name.startswith(("represent/", "common/"))}
    for name, file in files.items():
        assert 0 <= file.stat().st_size - works[name].bytes < 1000
    before = {name: file.stat().st_size for name, file in files.items()}
    for name, file in files.items():
        as_before(file)
        assert file.stat().st_size > 1.7 * before[name]
    for step in ("compare", "overview", "affinity"):
        shutil.rmtree(tmp_path / UNITS / step)
    done, failed, _ = run_again(tmp_path)
    assert {name.split("/")[0] for name in done} == {"compare", "overview", "affinity"} and not failed
    assert_same(tables(tmp_path), expected)
