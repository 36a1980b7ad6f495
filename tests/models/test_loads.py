"""What a load reports is read: nothing is filled at random, nothing is put on, nothing is left out unsaid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from mossa.errors import ModelError, ModelNote
from mossa.models.base import LoadedBase, load_base, load_checkpoint
from mossa.study.schema import Base
from tests.small import make_model, make_tokenizer

TOKENS = torch.tensor([[1, 5, 9, 11, 30, 42]])
Weights = dict[str, torch.Tensor]


def changed(base: Path, folder: Path, change: Callable[[Weights], Weights]) -> Base:
    """Copy a base with other weights in its file."""
    shutil.copytree(base, folder)
    save_file(change(load_file(base / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    return Base(model=str(folder))


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new, 1): tensor for name, tensor in weights.items()}


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def without(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: tensor for name, tensor in weights.items() if name not in names}


LOST = "model.layers.1.mlp.up_proj.weight"
WRAPPERS = {
    "torch.compile": (prefixed("_orig_mod."), 30, "'_orig_mod.'"),
    "distributed": (prefixed("module."), 30, "'module.'"),
    "unmerged PEFT": (prefixed("base_model.model."), 30, "'base_model.model.'"),
    "two wrappers": (prefixed("module._orig_mod."), 30, "'module._orig_mod.'"),
    "a trainer's own": (prefixed("policy."), 30, "'policy.'"),
    "one compiled block": (renamed("layers.1.", "layers.1._orig_mod."), 9, "'_orig_mod.'"),
    "untouched weights beside an adapter": (renamed("q_proj.", "q_proj.base_layer."), 3, "'base_layer.'"),
}


@pytest.mark.parametrize("what", WRAPPERS)
def test_names_with_a_wrapper_in_them_are_refused_and_explained(
    what: str, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    change, count, part = WRAPPERS[what]
    settings = changed(base_folder("llama"), tmp_path / "base", change)
    said = (
        rf"{count} of 30 weights are in none of its files .* would be random\. .* hold them with {part} in their names"
    )
    with pytest.raises(ModelError, match=rf"base\.model: .*{said}.*merge_and_unload"):
        load_base(settings)
    good = Base(model=str(base_folder("llama")))
    with pytest.raises(ModelError, match=rf"checkpoint: .*{said}"):
        load_checkpoint(settings.model, good, make_tokenizer(), "cpu")


@pytest.mark.parametrize("lost", [LOST, "lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"])
def test_a_lost_tensor_is_refused_by_its_name(lost: str, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    settings = changed(base_folder("llama"), tmp_path / "base", without(lost))
    with pytest.raises(ModelError, match=rf"1 of 30 weights are in none of its files \(for example {lost}\)"):
        load_base(settings)


def test_a_shard_that_the_index_does_not_know_is_missed(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path, max_shard_size="30KB")
    make_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    gone = max(index["weight_map"].values())
    index["weight_map"] = {name: shard for name, shard in index["weight_map"].items() if shard != gone}
    path.write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"are in none of its files .* would be random"):
        load_base(Base(model=str(tmp_path)))


def test_another_shape_is_refused_with_both(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    narrow = changed(base_folder("llama"), tmp_path / "base", lambda all_: {**all_, LOST: all_[LOST][:20].clone()})
    with pytest.raises(
        ModelError, match=rf"1 of its weights .* \(for example {LOST}: \[20, 32\] instead of \[48, 32\]\)"
    ):
        load_base(narrow)


def test_weights_of_another_head_are_told_and_those_that_lack_are_refused(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    def score(weights: Weights) -> Weights:
        return {**weights, "score.weight": torch.zeros(2, 32)}

    with pytest.warns(ModelNote, match=r"1 tensors are not used \(for example score\.weight\)") as told:
        load_base(changed(base_folder("llama"), tmp_path / "more", score))
    assert len(told) == 1
    other = changed(base_folder("llama"), tmp_path / "other", lambda weights: without("lm_head.weight")(score(weights)))
    with pytest.raises(
        ModelError, match=r"example lm_head\.weight\).* 1 others that have no place \(for example score"
    ):
        load_base(other)


def test_what_need_not_be_in_a_file_is_not_missed(tmp_path: Path) -> None:
    tied = make_model("gemma2")  # its head is its embeddings, and is not saved
    tied.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = load_base(Base(model=str(tmp_path))).model
    with torch.no_grad():
        assert torch.equal(loaded(TOKENS).logits, tied(TOKENS).logits)


def test_tied_weights_that_differ_in_the_file_are_told(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    settings = changed(base_folder("llama"), tmp_path / "base", lambda weights: weights)
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    with pytest.warns(ModelNote, match="transformers says: The tied weights mapping"):
        load_base(settings)


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own_llama"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
    _keys_to_ignore_on_load_missing = [r"lm_head"]
"""


@pytest.mark.parametrize("lost", [[], ["lm_head.weight"]])
def test_what_a_models_own_code_excuses_is_still_missing(
    lost: list[str], base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    changed(base_folder("llama"), folder := tmp_path / f"own{len(lost)}", without(*lost))
    config = json.loads((folder / "config.json").read_text())
    places = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own_llama", "auto_map": places}))
    (folder / "modeling_own.py").write_text(OWN_CODE)
    settings = Base(model=str(folder), trust_remote_code=True)
    if lost:
        with pytest.raises(ModelError, match=r"1 of 30 weights .* \(for example lm_head\.weight\)"):
            load_base(settings)
    else:
        assert load_base(settings).layers == 3


@pytest.fixture
def both(base_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """Return the folder of a base in which somebody has also saved an adapter that changes it much."""
    settings = Base(model=str(base_folder("llama")))
    adapted = peft.get_peft_model(load_base(settings).model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    folder = Path(shutil.copytree(settings.model, tmp_path / "both"))
    adapted.save_pretrained(str(folder))
    return folder


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_an_adapter_beside_a_model_is_left_out_and_told(both: Path, base_folder: Callable[[str], Path]) -> None:
    settings = Base(model=str(base_folder("llama")))
    base: LoadedBase = load_base(settings)
    with pytest.warns(ModelNote, match=r"base\.model: .*an adapter lies beside the model .* is left out"):
        beside = load_base(Base(model=str(both)))
    with pytest.warns(ModelNote, match=r"checkpoint: .*an adapter lies beside the model"):
        checkpoint = load_checkpoint(str(both), settings, base.tokenizer, "cpu")
    with torch.no_grad():
        right = base.model(TOKENS).logits
        assert torch.equal(beside.model(TOKENS).logits, right) and torch.equal(checkpoint(TOKENS).logits, right)
    assert not any("lora_" in name for model in (beside.model, checkpoint) for name, _ in model.named_parameters())


def test_a_folder_of_an_adapter_alone_is_no_base(both: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (both / name).unlink()
    with pytest.raises(ModelError):
        load_base(Base(model=str(both)))


def test_what_other_libraries_print_is_silent_and_their_settings_stay(
    base_folder: Callable[[str], Path], capfd: Any
) -> None:
    from transformers.utils import logging

    logger = logging.get_logger("transformers")
    before = logger.handlers, logger.level, logger.propagate
    load_base(Base(model=str(base_folder("llama"))))
    assert (logger.handlers, logger.level, logger.propagate) == before
    assert "".join(capfd.readouterr()) == ""
