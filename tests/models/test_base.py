"""Loading a base: what can be used is loaded as it is, what cannot is a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from mossa.errors import ModelError
from mossa.models.adapters import target_modules
from mossa.models.base import load_base, load_checkpoint
from mossa.models.batches import by_length
from mossa.models.files import base_fingerprint
from mossa.study.recipe import Lora
from mossa.study.schema import Base
from tests.small import ARCHITECTURES, make_model, make_tokenizer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_base_is_loaded_frozen_and_without_noise(architecture: str, base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder(architecture))))
    assert (base.layers, base.width, base.longest) == (3, 32, 96)
    assert not base.model.training and not any(p.requires_grad for p in base.model.parameters())
    assert all(module.p == 0 for module in base.model.modules() if isinstance(module, torch.nn.Dropout))


def test_a_tokenizer_needs_no_pad_token(base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    assert base.tokenizer.pad_token is None  # all the training tests use this one
    assert base.tokenizer("cat dog")["input_ids"][0] == base.tokenizer.bos_token_id


def test_dtype_is_the_studys(base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder("llama")), dtype="bfloat16"))
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}


FUSED = {name: ["query_key_value"] for name in ("gpt_neox", "bloom", "falcon")}
OTHER_TARGETS = {**FUSED, "gpt2": ["c_attn"], "phi": ["q_proj", "v_proj", "fc1", "fc2"]}


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "olmo2"])
def test_targets_are_what_peft_knows(architecture: str) -> None:
    assert target_modules(make_model(architecture), Lora()) == OTHER_TARGETS.get(architecture, ["q_proj", "v_proj"])


def test_targets_that_peft_does_not_know_are_named_in_the_study() -> None:
    olmo = make_model("olmo2")
    with pytest.raises(ModelError, match=r"no targets for a 'olmo2' model\. Set all-linear, or some of: .*q_proj"):
        target_modules(olmo, Lora())
    assert target_modules(olmo, Lora(targets=["q_proj", "v_proj"])) == ["q_proj", "v_proj"]


def test_unknown_targets_say_what_to_set() -> None:
    model = make_model("llama")
    with pytest.raises(ModelError, match=r"the base has no q_porj\. The choices are: .*q_proj"):
        target_modules(model, Lora(targets=["q_porj"]))
    with pytest.raises(ModelError, match="the base has no embed_tokens"):
        target_modules(model, Lora(targets=["embed_tokens"]))
    model.config.model_type = "unheard-of"
    with pytest.raises(ModelError, match=r"no targets for a 'unheard-of' model\. Set all-linear, or some of: .*q_proj"):
        target_modules(model, Lora())


def test_a_base_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"base\.model: .*cannot be loaded"):
        load_base(Base(model=str(tmp_path)))
    with pytest.raises(ModelError, match=r"base\.model: nobody/nothing cannot be loaded.*HF_HUB_OFFLINE"):
        load_base(Base(model="nobody/nothing"))


def test_a_model_that_is_no_causal_language_model_is_a_sentence(tmp_path: Path) -> None:
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a 'bert' model \(BertModel\), not a causal language model"):
        load_base(Base(model=str(tmp_path)))


def test_pickled_weights_are_refused(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder("llama"), tmp_path / "base")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \*\.safetensors.*pytorch_model\.bin; convert it"):
        base_fingerprint(Base(model=str(folder)))
    with pytest.raises(ModelError, match="convert it"):
        load_base(Base(model=str(folder)))


def test_a_tokenizer_without_an_end_is_a_sentence(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder("llama"), tmp_path / "base")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load_base(Base(model=str(folder)))


def test_a_tokenizer_of_another_model_is_a_sentence(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder("llama"), tmp_path / "base")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"more{index}" for index in range(50)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="do not belong together"):
        load_base(Base(model=str(folder)))


def test_a_checkpoint_that_embeds_too_few_tokens_is_a_sentence(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    smaller = make_model("llama")
    smaller.resize_token_embeddings(20)
    smaller.save_pretrained(tmp_path)
    settings = Base(model=str(base_folder("llama")))
    with pytest.raises(ModelError, match=r"checkpoint .*: the tokenizer has 51 tokens, but the model embeds only 20"):
        load_checkpoint(str(tmp_path), settings, load_base(settings).tokenizer, "cpu")


def test_truncated_weights_are_a_sentence(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder("llama"), tmp_path / "base")
    whole = (folder / "model.safetensors").read_bytes()
    for kept, said in ((len(whole) // 2, "its header speaks of"), (100, "no header"), (0, "no header")):
        (folder / "model.safetensors").write_bytes(whole[:kept])
        for read in (load_base, base_fingerprint):
            with pytest.raises(ModelError, match=rf"is not whole: it has {kept:,} bytes and {said}.*copy it again"):
                read(Base(model=str(folder)))


def test_a_missing_shard_is_a_sentence(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path, max_shard_size="30KB")
    make_tokenizer().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1 and load_base(Base(model=str(tmp_path))).layers == 3
    shards[0].unlink()
    for read in (load_base, base_fingerprint):
        with pytest.raises(ModelError, match=rf"lacks 1 of its files of weights \(for example {shards[0].name}\)"):
            read(Base(model=str(tmp_path)))
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(ModelError, match=r"index\.json cannot be read"):
        load_base(Base(model=str(tmp_path)))


def test_the_fingerprint_is_the_content_and_not_the_place(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    original = base_fingerprint(Base(model=str(base_folder("llama"))))
    folder = shutil.copytree(base_folder("llama"), tmp_path / "elsewhere")
    assert base_fingerprint(Base(model=str(folder))) == original
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert base_fingerprint(Base(model=str(folder))) != original


def test_groups_hold_every_index_once_within_the_budget() -> None:
    lengths = [5, 1, 9, 9, 30, 2, 2, 7]
    groups = by_length(lengths, 18)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * max(lengths[index] for index in group) <= 18 for group in groups)
