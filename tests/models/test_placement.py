"""A base spread over several devices trains and represents as the whole one does, and is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mossa.errors import ModelError, StudyError
from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase, load_base
from mossa.models.placement import places_of
from mossa.representations import represent_tokens
from mossa.run.devices import find_device
from mossa.run.options import RunOptions
from mossa.run.run import prepare, run_study
from mossa.study.recipe import Budget, Lora, Recipe
from mossa.study.schema import Base, StudySettings
from mossa.training.evaluate import evaluate
from mossa.training.train import train_adapter
from tests.training.test_gradient import some_examples

MOST = "cpu=100KB+disk"  # of about 120 KB, and accelerate keeps room for a block of 31 KB that it brings in


def on_disk(base: LoadedBase) -> int:
    return sum(parameter.is_meta for parameter in base.model.parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_base_of_which_half_lies_on_the_disk_gives_the_same_to_the_bit(
    architecture: str, checkpointing: bool, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    examples = some_examples()
    recipe = Recipe(lora=Lora(rank=4, dropout=0.2), batch_size=4, gradient_checkpointing=checkpointing)
    found = {}
    for device in ("cpu", MOST):
        base = load_base(Base(model=str(base_folder(architecture))), device)
        away = on_disk(base)
        assert (away > 0) == (device == MOST) and away < len(list(base.model.parameters()))
        trained = train_adapter(base, examples, [], recipe, Budget(steps=3), 0, tmp_path / device)
        with loaded_adapter(base, tmp_path / device) as adapted:
            judged = evaluate(adapted, examples, base.device)
            changed = represent_tokens(adapted, [example.tokens for example in examples])
        assert on_disk(base) == away  # nothing stays in memory that was on the disk
        plain = represent_tokens(base.model, [example.tokens for example in examples])
        found[device] = trained, judged, changed, plain, load_file(tmp_path / device / "adapter_model.safetensors")
    whole, dealt = found.values()
    assert whole[:2] == dealt[:2] and not torch.equal(whole[2], whole[3])
    assert torch.equal(whole[2], dealt[2]) and torch.equal(whole[3], dealt[3])
    assert whole[4].keys() == dealt[4].keys() and all(torch.equal(whole[4][name], dealt[4][name]) for name in whole[4])


def test_an_adapter_that_reads_weights_that_lie_elsewhere_is_refused(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_folder("llama"))
    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path)
    settings = Base(model=str(base_folder("llama")))
    with loaded_adapter(load_base(settings), tmp_path) as adapted:
        assert represent_tokens(adapted, [[3, 4, 5]]).isfinite().all()
    with (
        pytest.raises(ModelError, match=r"uses DoRA.*Name only GPUs"),
        loaded_adapter(load_base(settings, MOST), tmp_path),
    ):
        pass


def test_what_fits_nowhere_is_a_sentence(base_folder: Callable[[str], Path]) -> None:
    with pytest.raises(
        ModelError, match=r"does not fit there, \d+ of its \d+ parts are left over. Add \+cpu or \+disk"
    ):
        load_base(Base(model=str(base_folder("llama"))), "cpu=30KB")


@given(
    gpus=st.lists(st.integers(0, 99), unique=True, max_size=4),
    cpu=st.booleans(),
    disk=st.booleans(),
    limits=st.lists(st.sampled_from(["", "=20GB", "=1.5MB", "=300KB"]), min_size=6, max_size=6),
)
def test_places_are_read_as_they_are_written(gpus: list[int], cpu: bool, disk: bool, limits: list[str]) -> None:
    names = [*(f"cuda:{gpu}" for gpu in gpus), *["cpu"] * cpu, *["disk"] * disk] or ["cpu"]
    sizes = {"": None, "=20GB": 20 * 10**9, "=1.5MB": 1_500_000, "=300KB": 300_000}
    written = "+".join(name + limit for name, limit in zip(names, limits, strict=False))
    assert places_of(written) == {name: sizes[limit] for name, limit in zip(names, limits, strict=False)}


@pytest.mark.parametrize(
    "device", ["cpu+cuda:0", "cpu+cpu", "disk+cpu", "cuda:0+", "cpu=20+disk", "cuda+cpu", "cpu+tpu"]
)
def test_what_is_no_place_is_a_sentence(device: str) -> None:
    with pytest.raises(StudyError, match=r"is not allowed there\. Name each place once, GPUs first"):
        places_of(device)


def test_a_study_may_be_begun_in_one_place_and_go_on_in_another(
    base_folder: Callable[[str], Path], task_folder: Path, tmp_path: Path
) -> None:
    study = StudySettings.model_validate(
        {
            "name": "small",
            "base": {"model": str(base_folder("llama"))},
            "tasks": {"source": str(task_folder), "only": ["first", "again"], "train": 24, "validation": 4, "test": 12},
            "recipe": {"preset": "small", "batch_size": 8, "budget": {"steps": 4}},
            "similarity": {"other_controls": 0},
        }
    )
    with pytest.raises(StudyError, match=r"--workers 2: a base that is spread over .* is loaded once; give 1"):
        run_study(prepare(study, tmp_path), RunOptions(device=MOST, workers=2))
    dealt = run_study(prepare(study, tmp_path), RunOptions(device=MOST), say=str)
    again = run_study(prepare(study, tmp_path), RunOptions(device="cpu", workers=1), say=str)
    whole = run_study(prepare(study, tmp_path / "whole"), RunOptions(device="cpu", workers=1), say=str)
    assert len(dealt.done) == len(whole.done) > 0 and again.done == [] and not dealt.failed
    for name in ("similarity", "evaluation"):
        pd.testing.assert_frame_equal((dealt.tables or {})[name], (whole.tables or {})[name], check_exact=True)


def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(StudyError, match=r"--device cuda:98: torch finds .* here"):
        find_device("cuda:98+cuda:99+cpu")
