"""A base of Llama-2-7B's width and layout of files, with few layers and random weights."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import AutoConfig, AutoModelForCausalLM

LAYERS, WIDTH, VOCABULARY = 2, 4096, 32_000
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": 11_008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}


def save_base(folder: Path) -> Path:
    """Save configuration, tokenizer and two files of weights to `folder` and return it."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_tokenizer(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    pool = torch.randn(1 << 24, generator=torch.Generator().manual_seed(0)).mul_(0.02).half()
    shards: list[dict[str, torch.Tensor]] = [{}, {}]
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        shards[number % 2][name] = (
            torch.ones(tensor.shape).half() if tensor.dim() == 1 else _drawn(pool, number, tensor)
        )
    index = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def _drawn(pool: torch.Tensor, number: int, like: torch.Tensor) -> torch.Tensor:
    """Return random numbers in the shape of `like`: drawing all of them anew would take most of the test's time."""
    copies = -(-like.numel() // pool.numel())
    return torch.cat([pool.roll(7919 * (31 * number + copy)) for copy in range(copies)])[: like.numel()].view(
        like.shape
    )


def save_tokenizer(folder: Path) -> None:
    """Save a tokenizer laid out as Llama 2's: byte pairs over `▁` for spaces, bytes to fall back on, 32,000 tokens."""
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = list(itertools.product("▁" + letters, letters))
    triples = itertools.product((a + b for a, b in pairs), letters)
    quadruples = itertools.product((a + b for a, b in pairs), (a + b for a, b in pairs if a != "▁"))
    single = ["▁", *(chr(code) for code in range(33, 127))]
    room = VOCABULARY - len(vocabulary) - len(single)
    merges = list(itertools.islice(itertools.chain(pairs, triples, quadruples), room))
    vocabulary += [first + second for first, second in merges] + single
    tokens = {token: number for number, token in enumerate(vocabulary)}
    assert len(tokens) == VOCABULARY
    model = models.BPE(tokens, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {
        name: _added(token) for name, token in (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"))
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
    }
    special = {name: {"__type": "AddedToken", **token} for name, token in special.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | special))


def _added(token: str) -> dict[str, Any]:
    return {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
