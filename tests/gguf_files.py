"""Writes small models as GGUF files, the way llama.cpp's converter does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

CHAT = (
    "{% for message in messages %}<a>{{ message['content'] }}<b>{% endfor %}"
    "{% if add_generation_prompt %}<c>{% endif %}"
)
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 96,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
GEMMA3 = {**SIZES, "num_hidden_layers": 7, "sliding_window": 8}  # layer 6 sees everything, the others eight tokens


def make(architecture: str, settings: dict[str, Any], seed: int = 0) -> Any:
    """Return a model of the tokens below with weights wide enough that layers and windows matter."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, vocab_size=len(tokens()), **settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() == 2 else 1).add_(0.0 if parameter.dim() == 2 else 0.1)
    return model


def tokens() -> list[str]:
    """Return a vocabulary of bytes and two merges, after a beginning and an end."""
    return ["<s>", "</s>", *bytes_to_unicode().values(), "he", "hel"]


def write(
    path: Path,
    model: Any,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    chat: str | None = CHAT,
    architecture: str | None = None,
    extra: dict[str, np.ndarray] | None = None,
    leave_out: str = "nothing",
    keys: dict[str, int] | None = None,
) -> Path:
    """Write a llama or gemma3 `model` to `path`; matrices in `kind`, norms in float32."""
    config, gemma = model.config, model.config.model_type == "gemma3_text"
    writer = gguf.GGUFWriter(path, architecture or ("gemma3" if gemma else "llama"))
    _describe(writer, config, chat)
    for key, value in (keys or {}).items():
        writer.add_uint16(key, value)
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH.GEMMA3 if gemma else gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers
    )
    tied = config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        if (tied and name == "lm_head.weight") or leave_out in name:
            continue
        array = weight.float().numpy()
        if gemma and "norm" in name:
            array = array + 1
        if not gemma and "q_proj" in name:
            array = _permuted(array, config.num_attention_heads)
        if not gemma and "k_proj" in name:
            array = _permuted(array, config.num_key_value_heads)
        held = gguf.GGMLQuantizationType.F32 if array.ndim == 1 else kind
        writer.add_tensor(names.get_name(name, (".weight",)), gguf.quantize(array, held), raw_dtype=held)
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def split(path: Path) -> list[Path]:
    """Write the file again as two parts beside it, as llama.cpp's `gguf-split` does, and return them."""
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    reader = gguf.GGUFReader(path)
    tensors, parts = list(reader.tensors), []
    for number in range(2):
        part = path.with_name(f"{path.stem}-{number + 1:05}-of-00002.gguf")
        reader.tensors = tensors[number * 5 : 5 + number * len(tensors)]
        if number:
            reader.fields = {key: reader.fields[key] for key in ("general.architecture",)}
        values = {"split.no": number, "split.count": 2, "split.tensors.count": len(tensors)}
        added = {key: MetadataDetails(gguf.GGUFValueType.UINT16, value) for key, value in values.items()}
        copy_with_new_metadata(reader, gguf.GGUFWriter(part, "llama"), added, ())
        parts.append(part)
    return parts


def _describe(writer: gguf.GGUFWriter, config: Any, chat: str | None) -> None:
    writer.add_name("small")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens())
    writer.add_token_types([3, 3, *[1] * (len(tokens()) - 2)])
    writer.add_token_merges(["h e", "he l"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if chat:
        writer.add_chat_template(chat)


def _permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of a projection in the order in which llama.cpp rotates them."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
