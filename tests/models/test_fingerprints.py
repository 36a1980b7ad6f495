"""A base is what is loaded from it: every file that counts changes its fingerprint, and no other does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

from mossa.models.adapters import new_adapter, save_adapter
from mossa.models.base import load_base
from mossa.models.files import TOKENIZER, adapter_fingerprint, base_fingerprint
from mossa.study.recipe import Lora
from mossa.study.schema import Base
from tests.small import make_model


@pytest.fixture
def base(base_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(base_folder("llama"), tmp_path / "base"))


def known(folder: Path, trusted: bool = False, tokenizer: bool = True) -> str:
    return base_fingerprint(Base(model=str(folder), trust_remote_code=trusted), tokenizer=tokenizer)


def add(folder: Path, name: str, text: str = "something") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


READ = [
    *("tokenizer.model", "tokenizer.model.v3", "tekken.json", "qwen.tiktoken", "vocab.json", "merges.txt", "vocab.txt"),
    *("spiece.model", "source.spm", "added_tokens.json", "chat_template.jinja", "additional_chat_templates/rag.jinja"),
]
NOT_READ = [
    *(
        "NOTES.txt",
        "notes.json",
        "README.md",
        "trainer_state.json",
        "eval_results.json",
        "training_args.bin",
        "LICENSE.txt",
    ),
    *("original/params.json", "consolidated.safetensors", "model.fp16.safetensors", "pytorch_model.bin.index.json"),
    *("modeling_own.py", ".git/config", "runs/events.json", "optimizer.pt", "adapter_config.json"),
]


@pytest.mark.parametrize("name", READ)
def test_what_a_tokenizer_may_read_counts_for_a_base_and_not_for_a_checkpoint(name: str, base: Path) -> None:
    before, as_checkpoint = known(base), known(base, tokenizer=False)
    add(base, name)
    assert known(base) != before and known(base, tokenizer=False) == as_checkpoint


@pytest.mark.parametrize("name", NOT_READ)
def test_what_nothing_reads_does_not_count(name: str, base: Path) -> None:
    before = known(base)
    add(base, name)
    assert known(base) == before


def test_every_tokenizer_of_transformers_reads_files_that_count() -> None:
    asked = 0
    for name in {name for names in TOKENIZER_MAPPING_NAMES.values() for name in ([names] if names else [])}:
        try:
            names = getattr(tokenizer_class_from_name(name), "vocab_files_names", {})
        except ImportError:  # needs a library that is not installed
            continue
        for file in names.values():
            assert TOKENIZER.fullmatch(file), (name, file)
            asked += 1
    assert asked > 100


@pytest.mark.parametrize("change", ["weights", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_what_is_loaded_counts(change: str, base: Path) -> None:
    before, as_checkpoint = known(base), known(base, tokenizer=False)
    if change == "weights":
        make_model("llama", seed=1).save_pretrained(base)
    else:
        (base / change).write_text((base / change).read_text() + "\n")
    assert known(base) != before
    assert (known(base, tokenizer=False) != as_checkpoint) == (not change.startswith("tokenizer"))


@pytest.mark.parametrize("name", ["modeling_own.py", "own/layers.py", "own.bpe", "own/table.dat"])
def test_code_that_is_trusted_counts_with_all_that_it_may_read(name: str, base: Path) -> None:
    add(base, "modeling_own.py", "SCALE = 1.0")
    before, untrusted = known(base, trusted=True), known(base)
    add(base, name, "SCALE = 30.0")
    assert known(base, trusted=True) != before and known(base) == untrusted
    again = known(base, trusted=True)
    add(base, "README.md")
    add(base, ".cache/x")
    assert known(base, trusted=True) == again


def test_shards_count_with_their_index(base: Path) -> None:
    (base / "model.safetensors").unlink()
    make_model("llama").save_pretrained(base, max_shard_size="30KB")
    before = known(base)
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps(json.loads(index.read_text()), indent=1))
    assert known(base) != before


def test_an_adapter_is_its_two_files(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    with new_adapter(load_base(Base(model=str(base_folder("llama")))), Lora(rank=2), seed=0) as adapted:
        save_adapter(adapted, tmp_path)
    before = adapter_fingerprint(str(tmp_path))
    for name in ("tokenizer.json", "trainer_state.json", "README.md", "config.json"):
        add(tmp_path, name)
    torch.save({}, tmp_path / "training_args.bin")
    assert adapter_fingerprint(str(tmp_path)) == before
    add(tmp_path, "adapter_config.json", "{}")
    assert adapter_fingerprint(str(tmp_path)) != before
