"""An adapter on chosen layers lies on these and on no others, and PEFT reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForCausalLM

from mossa.errors import ModelError
from mossa.models.adapters import loaded_adapter, lora_config, new_adapter
from mossa.models.base import load_base, without_storage
from mossa.models.blocks import blocks_of
from mossa.models.prompts import make_format
from mossa.study.recipe import Budget, Lora, Recipe
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from mossa.training.train import train_adapter
from tests.small import ARCHITECTURES, COMMON, GROUPED, examples, make_tokenizer


@pytest.mark.parametrize(
    ("architecture", "targets"),
    [*((name, "all-linear") for name in ARCHITECTURES), ("llama", "auto"), ("gpt2", "auto")],
)
def test_only_the_chosen_layers_are_adapted(
    architecture: str, targets: str, base_folder: Callable[[str], Path]
) -> None:
    base = load_base(Base(model=str(base_folder(architecture))))
    with new_adapter(base, Lora(targets=targets, layers=[2]), 0) as adapted:
        blocks = blocks_of(adapted.get_base_model())
        found = [any(isinstance(part, LoraLayer) for part in block.modules()) for block in blocks]
        inside = sum(isinstance(part, LoraLayer) for block in blocks for part in block.modules())
        assert found == [False, True, False]
        assert inside == sum(isinstance(part, LoraLayer) for part in adapted.modules())
    assert not any(isinstance(part, LoraLayer) for part in base.model.modules())  # the base is as it was


def test_all_layers_by_number_are_all_layers(base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    shapes = []
    for layers in (None, [1, 2, 3]):
        with new_adapter(base, Lora(targets="all-linear", layers=layers), 0) as adapted:
            shapes.append({name: part.shape for name, part in adapted.named_parameters() if part.requires_grad})
    assert shapes[0] == shapes[1]


def test_layers_below_the_lowest_get_no_gradient_and_stay_as_they_are(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    form = make_format(base.tokenizer, Prompt(), base.longest)
    data = form.encode([Example(e["inputs"], e["targets"]) for e in examples("first", 24)], "first", with_target=True)
    recipe = Recipe(lora=Lora(targets="all-linear", layers=[3]), learning_rate=5e-3, batch_size=8)
    train_adapter(base, data, [], recipe, Budget(steps=6), 0, tmp_path / "adapter")
    ids = torch.tensor([data[0].tokens])
    before = base.model(input_ids=ids, output_hidden_states=True).hidden_states
    with loaded_adapter(base, tmp_path / "adapter") as adapted:
        after = adapted(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(after[2], before[2]) and not torch.allclose(after[3], before[3])
    assert LoraConfig.from_pretrained(str(tmp_path / "adapter")).layers_to_transform == [2]


def test_the_configuration_needs_no_weights(base_folder: Callable[[str], Path]) -> None:
    settings = Base(model=str(base_folder("gpt2")))
    bare = without_storage(settings)
    assert all(parameter.is_meta for parameter in bare.parameters())
    config = lora_config(bare, Lora(targets="all-linear", layers=[1, 3]))
    assert (config.layers_to_transform, config.layers_pattern) == ([0, 2], "h")


def test_layers_that_the_adapter_would_not_keep_to_are_refused(tmp_path: Path) -> None:
    mixed = {"mlp_only_layers": [0], "num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8}
    config = AutoConfig.for_model("qwen3_moe", **COMMON, **GROUPED, **mixed)  # dense, then two layers of experts
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    base = load_base(Base(model=str(tmp_path)))
    refused = pytest.raises(ModelError, match=r"\[1\] was asked for, and PEFT adapts the layers \[2, 3\]")
    with refused, new_adapter(base, Lora(targets=["gate_proj", "up_proj", "down_proj"], layers=[1]), 0):
        pass
    assert not any(isinstance(part, LoraLayer) for part in base.model.modules())


def test_a_layer_that_is_not_there_and_one_named_twice_are_refused(base_folder: Callable[[str], Path]) -> None:
    bare = without_storage(Base(model=str(base_folder("llama"))))
    with pytest.raises(ModelError, match=r"no layer 4\. The base has the layers 1 to 3"):
        lora_config(bare, Lora(layers=[1, 4]))
    with pytest.raises(ValidationError, match="repeat"):
        Lora(layers=[2, 2])
    assert Lora(layers=[3, 1]).layers == [1, 3]
