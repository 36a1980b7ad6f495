"""Bases in 4 and 8 bits: they load smaller, train, and say what they need."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from mossa.errors import ModelError
from mossa.models.base import load_base
from mossa.models.blocks import blocks_of
from mossa.models.quantise import check_quantiser
from mossa.models.shape import shape_of
from mossa.representations import represent_tokens
from mossa.study.recipe import Budget, Lora, Recipe
from mossa.study.schema import Base, StudySettings
from mossa.tasks.collections import load_tasks
from mossa.training.train import train_adapter
from mossa.units.plan import plan
from mossa.units.unit import fingerprints
from tests.run.command import mossa, tables
from tests.training.test_gradient import some_examples

INSTALLED = importlib.util.find_spec("bitsandbytes") is not None
needs_bitsandbytes = pytest.mark.skipif(not INSTALLED, reason="bitsandbytes is not installed (the extra `quantise`)")


@pytest.fixture(scope="module")
def study(base_folder: Callable[[str], Path], task_folder: Path) -> dict:
    return {
        "name": "small",
        "base": {"model": str(base_folder("llama"))},
        "tasks": {"source": str(task_folder), "only": ["first", "again"], "train": 24, "validation": 4, "test": 12},
        "recipe": {"preset": "small", "batch_size": 8, "budget": {"steps": 6}},
        "similarity": {"other_controls": 0},
    }


@pytest.mark.skipif(INSTALLED, reason="bitsandbytes is installed")
def test_without_bitsandbytes_the_answer_is_its_pip_line(study: dict, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    for command in ("run", "validate"):
        ran = mossa(tmp_path, command, "small.yaml", "-s", "base.quantise=4-bit")
        assert ran.code == 2 and "base.quantise: 4-bit needs bitsandbytes" in ran.output
        assert "pip install 'mossa[quantise]'" in ran.output
    assert mossa(tmp_path, "status", "small.yaml", "-s", "base.quantise=4-bit").code == 0


def test_what_is_not_quantised_needs_nothing() -> None:
    check_quantiser(Base(model="x"))


def test_what_is_quantised_already_is_a_sentence(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder("llama"), tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"are quantised already\. Leave base\.quantise out"):
        load_base(Base(model=str(folder), quantise="8-bit"))
    if not INSTALLED:
        with pytest.raises(ModelError, match=r"base\.model: .* cannot be loaded: .*bitsandbytes"):
            load_base(Base(model=str(folder)))


def test_how_the_base_is_held_is_part_of_what_a_unit_is(study: dict) -> None:
    made = {}
    for bits in (None, "8-bit", "4-bit"):
        one = StudySettings.model_validate(study | {"base": {**study["base"], "quantise": bits}})
        units = plan(one, load_tasks(one.tasks))
        made[bits] = fingerprints(units)
        for step in ("train", "represent", "evaluate"):
            settings = next(unit.settings for unit in units.values() if unit.step == step)
            assert settings["base"].get("quantise") == bits and ("quantise" in settings["base"]) == bool(bits)
    assert len({tuple(marks.values()) for marks in made.values()}) == 3


@needs_bitsandbytes
@pytest.mark.parametrize(("bits", "error"), [("8-bit", 0.05), ("4-bit", 0.5)])
def test_a_quantised_base_is_near_the_whole_one_and_stays_as_it_was(
    bits: str, error: float, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    examples = some_examples()
    prompts = [example.tokens for example in examples]
    whole = represent_tokens(load_base(Base(model=str(base_folder("llama")))).model, prompts)
    settings = Base.model_validate({"model": str(base_folder("llama")), "quantise": bits})
    base = load_base(settings)
    held = sum(parameter.numel() * parameter.element_size() for parameter in blocks_of(base.model).parameters())
    assert held < 4 * shape_of(settings, Lora()).block_weights / (3 if bits == "8-bit" else 6)
    adapters = []
    for name in ("one", "two"):
        found = represent_tokens(base.model, prompts)
        assert 0 < (found - whole).norm() / whole.norm() < error
        trained = train_adapter(base, examples, [], Recipe(lora=Lora(rank=4)), Budget(steps=2), 0, tmp_path / name)
        assert trained.update_norm > 0
        adapters.append(load_file(tmp_path / name / "adapter_model.safetensors"))
        assert torch.equal(found, represent_tokens(base.model, prompts))
    assert all(torch.equal(tensor, adapters[1][name]) for name, tensor in adapters[0].items())


@pytest.fixture(scope="module")
def exact(study: dict, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """Return the tables of the study on the base as it is."""
    return run(study, tmp_path_factory.mktemp("exact"))


def run(study: dict, folder: Path, *words: str) -> dict[str, pd.DataFrame]:
    (folder / "small.yaml").write_text(yaml.safe_dump(study))
    ran = mossa(folder, "run", "small.yaml", "--workers", "1", "--no-report", *words)
    assert ran.code == 0 and "bitsandbytes" not in ran.output and "MatMul" not in ran.output, ran.output
    return tables(folder)


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8-bit", "4-bit"])
def test_a_study_on_a_quantised_base(study: dict, exact: dict[str, pd.DataFrame], bits: str, tmp_path: Path) -> None:
    found = run(study, tmp_path, "-s", f"base.quantise={bits}")
    adapters, whole = found["adapters"].set_index("adapter"), exact["adapters"].set_index("adapter")
    assert (adapters["last_loss"] < adapters["first_loss"]).all()
    assert (adapters["relative_update"] / whole["relative_update"]).between(0.5, 2).all()
    keys = ["experimental", "reference", "task", "layer", "estimator"]
    values, others = (tables["similarity"].set_index(keys)["value"].dropna() for tables in (found, exact))
    assert set(values.index) == set(others.index) and 0 < (values - others[values.index]).abs().max() < 0.5
