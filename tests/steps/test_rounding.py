"""What bfloat16 rounds away is said to be rounded away, and float32 representations of a bfloat16 base are exact."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mossa.errors import StudyError
from mossa.models.base import load_base
from mossa.models.placement import in_float32
from mossa.representations import represent_tokens
from mossa.run.run import prepare
from mossa.similarity import compare
from mossa.steps.rounding import MOST, NOISE, REASON, REMEDY, rounded_layers, without_rounded
from mossa.study import read_settings
from mossa.study.schema import Base

TOKENS = [[1, 5, 9, 12], [1, 7, 3], [1, 30, 31, 8, 4], [1, 2, 20]]


def test_a_bfloat16_base_is_represented_exactly_in_float32_and_left_as_it_was(
    base_folder: Callable[[str], Path],
) -> None:
    base = load_base(Base(model=str(base_folder("llama")), dtype="bfloat16"))
    before = {name: parameter.data_ptr() for name, parameter in base.model.named_parameters()}
    wide = copy.deepcopy(base.model).float()
    with in_float32(base.model):
        found = represent_tokens(base.model, TOKENS)
    assert torch.equal(found, represent_tokens(wide, TOKENS))
    assert not torch.allclose(found, represent_tokens(base.model, TOKENS), rtol=1e-4)
    assert before == {name: parameter.data_ptr() for name, parameter in base.model.named_parameters()}
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}


def test_a_float32_base_is_not_touched(base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    held = {name: parameter.data_ptr() for name, parameter in base.model.named_parameters()}
    with in_float32(base.model):
        assert held == {name: parameter.data_ptr() for name, parameter in base.model.named_parameters()}


def arrays(share: float, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a base `[40, 3, 64]` far from zero, and a model that differs from it so that rounding is `share` of it."""
    base = np.random.default_rng(0).normal(10, 1, (40, 3, 64))
    change = np.random.default_rng(1 + seed).normal(0, 1, base.shape)
    change -= change.mean(axis=0)
    rounding = NOISE * np.sqrt(np.arange(1, 4) * np.square(base).sum(axis=(0, 2)))
    change *= (rounding / share / np.sqrt(np.square(change).sum(axis=(0, 2))))[None, :, None]
    return base, base + change + 5.0  # a comparison does not see a shift that all prompts share


def test_a_change_counts_as_rounding_from_a_third_on() -> None:
    base, far = arrays(MOST * 0.99)
    _, near = arrays(MOST * 1.01)
    near[0, 0, 0] = np.nan  # that prompt is left out, not the layer
    assert rounded_layers(base, {"far": far, "near": near, "base": base}) == {
        "far": set(),
        "near": {1, 2, 3},
        "base": {1, 2, 3},
    }


def test_shifts_that_are_rounding_lose_their_value_and_nothing_else_does() -> None:
    base, control = arrays(0.1)
    _, sft = arrays(0.5, seed=1)
    estimators = ["cka-linear", "shift-cka-linear"]
    rows = compare({"sft": sft, "other": control}, control, estimators, origin=base).similarity
    kept = without_rounded(rows, "control", rounded_layers(base, {"control": control, "sft": sft}))
    for row, before in zip(kept, rows, strict=True):
        drowned = row["estimator"] == "shift-cka-linear" and row["model"] == "sft"
        assert (row["value"] is None) == drowned and row["reason"] == (REASON + REMEDY if drowned else None)
        assert drowned or row == before
    all_of_them = without_rounded(rows, "control", {"control": {1, 2, 3}})
    assert all((row["value"] is None) == row["estimator"].startswith("shift-") for row in all_of_them)


def fingerprints(settings: dict, folder: Path, **changes: Any) -> dict[str, str]:
    """Return the fingerprints of a study with some parts changed."""
    changed = {**settings, **{name: {**settings.get(name, {}), **part} for name, part in changes.items()}}
    return prepare(read_settings(changed).valid("study"), folder).fingerprints


def test_only_what_the_format_changes_is_done_again(settings: dict, tmp_path: Path) -> None:
    plain = fingerprints(settings, tmp_path)
    assert plain == fingerprints(settings, tmp_path, representations={"dtype": "float32"})  # it is float32 anyway
    bf16 = fingerprints(settings, tmp_path, base={"dtype": "bfloat16"})
    exact = fingerprints(settings, tmp_path, base={"dtype": "bfloat16"}, representations={"dtype": "float32"})
    changed = {name.split("/")[0] for name, mark in exact.items() if bf16[name] != mark}
    assert changed == {"represent", "common", "compare", "overview", "affinity"}


def test_weights_in_four_bits_are_not_asked_for_in_float32(settings: dict) -> None:
    base = {**settings["base"], "quantise": "4-bit", "dtype": "bfloat16"}
    with pytest.raises(StudyError, match=r"cannot be combined with base\.quantise.*; set representations\.dtype: base"):
        read_settings({**settings, "base": base, "representations": {"dtype": "float32"}}).valid("study")
