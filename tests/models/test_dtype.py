"""`dtype: auto` is decided once, by the size of the base and by what the hardware is fast at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mossa.models import dtype
from mossa.models.dtype import fast_at_bfloat16, settled
from mossa.run.run import prepare
from mossa.store.record import planned_base, write_record
from mossa.study import read_settings
from mossa.study.schema import Base


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags : fpu avx512f avx512_bf16 avx512vl", "the processor's avx512_bf16"),
        ("flags : amx_tile amx_bf16", "the processor's amx_bf16"),
        ("Features : fp asimd bf16 i8mm", "the processor's bf16"),
        ("flags : fpu avx512f avx512_fp16 notbf16", None),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU decides before the processor")
def test_the_processor_says_what_it_is_fast_at(flags: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    assert fast_at_bfloat16(tmp_path / "cpuinfo") == found
    assert fast_at_bfloat16(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("large", "hardware", "expected", "why"),
    [
        (1, "a chip", "bfloat16", "fast here (a chip)"),
        (1, None, "float32", "nothing here multiplies bfloat16 faster"),
        (10**9, "a chip", "float32", "only 0 million weights"),
    ],
)
def test_a_large_base_on_fast_hardware_is_bfloat16_and_the_reason_is_said(
    large: int,
    hardware: str | None,
    expected: str,
    why: str,
    base_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dtype, "LARGE", large)
    monkeypatch.setattr(dtype, "fast_at_bfloat16", lambda: hardware)
    base, said = settled(Base(model=str(base_folder("llama")), dtype="auto"))
    assert base.dtype == expected
    assert said.startswith(f"base.dtype: auto is {expected}, because") and why in said


def test_what_was_planned_stays_wherever_the_study_goes_on(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtype, "LARGE", 1)
    monkeypatch.setattr(dtype, "fast_at_bfloat16", lambda: "a chip")
    study = read_settings({**settings, "base": {**settings["base"], "dtype": "auto"}}).valid("study")
    first = prepare(study, tmp_path)
    assert first.study.base.dtype == "bfloat16" and "a chip" in first.note
    first.run.prepare()
    write_record(first.record)
    assert planned_base(first.run.path) == first.study.base
    monkeypatch.setattr(dtype, "fast_at_bfloat16", lambda: None)
    again = prepare(study, tmp_path)
    assert again.fingerprints == first.fingerprints and "as it was when this study was first planned" in again.note
    fixed = read_settings({**settings, "base": {**settings["base"], "dtype": "bfloat16"}}).valid("study")
    assert prepare(fixed, tmp_path).fingerprints == first.fingerprints and prepare(fixed, tmp_path).note == ""
    assert prepare(study, tmp_path / "elsewhere").fingerprints != first.fingerprints


@pytest.mark.parametrize("left", ["not: [a study", "- 1", "base: 3", "base: {model: x, dtype: float16}"])
def test_a_folder_that_tells_nothing_decides_nothing(left: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(left)
    assert planned_base(tmp_path) is None
    assert planned_base(tmp_path / "nowhere") is None
