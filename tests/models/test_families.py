"""Which models can be a base is asked of transformers, not of names; of a multimodal one the part that reads text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from mossa.errors import ModelError, ModelNote
from mossa.models.adapters import new_adapter
from mossa.models.base import load_base, load_config, without_storage
from mossa.models.blocks import decoder_of
from mossa.models.shape import shape_of
from mossa.representations import represent, represent_tokens
from mossa.study.recipe import Lora
from mossa.study.schema import Base
from tests.small import COMMON, GROUPED, hidden_states, make_tokenizer

TEXT: dict[str, Any] = {**COMMON, **GROUPED, "head_dim": 8, "pad_token_id": 0}
EYES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 3,  # as many as the text part has
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LINEAR = {f"linear_{what}": 8 if "dim" in what else 2 for what in ("key_head_dim", "value_head_dim")}
LINEAR |= {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
Make = Callable[[], Any]

MULTIMODAL: dict[str, Make] = {
    "Gemma 3": lambda: hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(text_config=TEXT, vision_config=EYES, mm_tokens_per_image=4, image_token_index=90)
    ),
    "Mistral 3": lambda: hf.Mistral3ForConditionalGeneration(
        hf.Mistral3Config(
            text_config={"model_type": "mistral", **TEXT},
            vision_config={"model_type": "pixtral", "head_dim": 8, **EYES},
        )
    ),
    "Qwen 3.5": lambda: hf.Qwen3_5ForConditionalGeneration(
        hf.Qwen3_5Config(
            text_config={**TEXT, **LINEAR, "layer_types": ["linear_attention", "full_attention", "linear_attention"]},
            vision_config={
                "hidden_size": 16,
                "depth": 3,
                "num_heads": 2,
                "out_hidden_size": 32,
                "intermediate_size": 16,
            },
        )
    ),
    "Llama 4": lambda: hf.Llama4ForConditionalGeneration(
        hf.Llama4Config(
            text_config={**TEXT, "intermediate_size_mlp": 48, "num_local_experts": 2},
            vision_config={**EYES, "vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16},
        )
    ),
}
PLAIN: dict[str, Make] = {
    "Llama 4, text": lambda: hf.Llama4ForCausalLM(
        hf.Llama4TextConfig(**TEXT, intermediate_size_mlp=48, num_local_experts=2)
    ),
    "ModernBERT decoder": lambda: hf.ModernBertDecoderForCausalLM(
        hf.ModernBertDecoderConfig(**{**COMMON, "pad_token_id": 0}, cls_token_id=1, sep_token_id=2)
    ),
}
REFUSED: dict[str, Make] = {
    "BART": lambda: hf.BartForConditionalGeneration(
        hf.BartConfig(
            vocab_size=96,
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    ),
    "T5": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=96, d_model=16, num_layers=2, d_kv=8, d_ff=16, num_heads=2)
    ),
}
PROMPTS = [[1, 5, 9, 11, 30, 42], [1, 7, 8], [1, 40, 41, 33, 20]]


def saved(make: Make, folder: Path) -> Any:
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("name", [*MULTIMODAL, *PLAIN])
def test_what_transformers_loads_as_a_causal_model_is_a_base(name: str, tmp_path: Path) -> None:
    original = saved({**MULTIMODAL, **PLAIN}[name], tmp_path)
    settings = Base(model=str(tmp_path))
    told = (
        pytest.warns(ModelNote, match=r"are not used \(for example multi_modal") if name == "Llama 4" else nullcontext()
    )
    with told:  # transformers builds the text part alone, and leaves the rest of the file
        base = load_base(settings)
    assert (base.layers, base.width, base.longest) == (3, 32, 96)
    right = hidden_states(original, PROMPTS)  # the whole multimodal model, by Hugging Face alone
    torch.testing.assert_close(represent_tokens(base.model, PROMPTS), right, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(represent_tokens(original, PROMPTS), right, atol=1e-4, rtol=1e-4)
    targets = Lora(targets=["q_proj", "v_proj"]) if name != "ModernBERT decoder" else Lora(targets="all-linear")
    with new_adapter(base, targets, 0) as adapted:
        inside = {id(part) for part in decoder_of(adapted.get_base_model()).modules()}
        places = [part for part in adapted.modules() if isinstance(part, LoraLayer)]
        assert places and (name not in MULTIMODAL or all(id(part) in inside for part in places))
    described = without_storage(settings)
    assert type(described) is type(base.model)
    assert shape_of(settings, targets).layers == 3


@pytest.mark.parametrize("name", REFUSED)
def test_encoder_decoders_are_refused_everywhere(name: str, tmp_path: Path) -> None:
    model = saved(REFUSED[name], tmp_path)
    with pytest.raises(ModelError, match="not a causal language model that transformers knows"):
        load_config(Base(model=str(tmp_path)))
    with pytest.raises(ModelError, match="is an encoder-decoder"):
        represent(model, make_tokenizer(), ["one", "two"])


def test_a_decoder_taken_out_of_an_encoder_decoder_is_a_base(tmp_path: Path) -> None:
    config = REFUSED["BART"]().config
    saved(lambda: hf.BartForCausalLM(config), tmp_path)
    assert load_config(Base(model=str(tmp_path))).is_encoder_decoder is False


def test_a_model_that_reads_both_ways_is_refused(tmp_path: Path) -> None:
    small = hf.BertConfig(
        vocab_size=96, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    saved(lambda: hf.BertForMaskedLM(small), tmp_path)
    with pytest.raises(ModelError, match=r"is a 'bert' model \(BertForMaskedLM\), not a causal language model"):
        load_config(Base(model=str(tmp_path)))


@pytest.mark.parametrize("architecture", ["LlamaModel", "MyOwnNameOfALlama", None])
def test_a_class_by_another_name_is_judged_by_its_weights(
    architecture: str | None, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_folder("llama"))
    model.config.architectures = [architecture] if architecture else None
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert load_base(Base(model=str(tmp_path))).layers == 3


@pytest.mark.parametrize("kind", ["mamba", "rwkv"])
def test_layers_of_recurrent_models_are_counted_as_the_page_on_models_says(kind: str) -> None:
    common: dict[str, Any] = {"vocab_size": 96, "hidden_size": 16, "num_hidden_layers": 3}
    torch.manual_seed(0)
    if kind == "mamba":
        model: Any = hf.MambaForCausalLM(hf.MambaConfig(**common, state_size=4)).eval()
    else:
        model = hf.RwkvForCausalLM(hf.RwkvConfig(**common, attention_hidden_size=16)).eval()
    ours = represent_tokens(model, PROMPTS)
    for prompt, found in zip(PROMPTS, ours, strict=True):
        with torch.no_grad():
            theirs = model(torch.tensor([prompt]), output_hidden_states=True).hidden_states
        assert len(theirs) == 4
        last = torch.stack([state[0, -1] for state in theirs])
        torch.testing.assert_close(found[:2], last[:2])  # layer l is hidden_states[l - 1] there ...
        torch.testing.assert_close(found[2], last[3])  # ... and the last one, after the final norm, hidden_states[L]
