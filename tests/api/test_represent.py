"""Representations with a model somebody holds: those of Hugging Face and of a study, and the model is left alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import mossa
from mossa.errors import DataError, ModelError, StudyError
from mossa.similarity import compare
from mossa.tasks.split import Limits
from tests.small import hidden_states, make_model, make_tokenizer
from tests.tasks.reading import load_folder

PROMPTS = ["say one cat", "what is the dog of two ?", "the bird is red . it is good", "down", "up is not down again"]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_rows_are_the_hidden_states_of_the_last_token(architecture: str) -> None:
    model, tokenizer = make_model(architecture), make_tokenizer()
    found = mossa.represent(model, tokenizer, PROMPTS)
    assert found.shape == (5, 3, 32) and found.dtype == torch.float32
    tokens = [tokenizer(f"{prompt}\nAnswer:\n")["input_ids"] for prompt in PROMPTS]
    torch.testing.assert_close(found, hidden_states(model, tokens), rtol=1e-4, atol=1e-5)


def test_a_compiled_model_is_the_model_inside() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer()
    compiled = torch.compile(model, backend="eager")
    found = mossa.represent(compiled, tokenizer, PROMPTS)
    torch.testing.assert_close(found, mossa.represent(model, tokenizer, PROMPTS), rtol=0, atol=0)
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        tuned.get_decoder().layers[1].mlp.up_proj.weight.mul_(1.5)
    place, same = (
        mossa.locate(base, torch.compile(tuned, backend="eager"), tokenizer, PROMPTS) for base in (compiled, model)
    )
    assert place.table.equals(same.table)


def test_rows_are_those_of_a_study(finished, settings: dict) -> None:
    units = finished[0] / "runs/small/units"
    stored = load_file(units / "represent/control-first-seed0@first/representations.safetensors")
    task = load_folder(Path(settings["tasks"]["source"]), Limits(48, 8, 24), 0, ["first"])[0]
    model = AutoModelForCausalLM.from_pretrained(settings["base"]["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(units / "train/control-first-seed0/adapter"))
    found = mossa.represent(model, make_tokenizer(), [example.prompt for example in task.test])
    torch.testing.assert_close(found[stored["index"]], stored["representations"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("adapter", [False, True])
def test_the_model_and_the_tokenizer_are_left_as_they_were(adapter: bool) -> None:
    model, tokenizer = make_model("llama"), make_tokenizer()
    if adapter:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], lora_dropout=0.5, init_lora_weights=False))
    model = model.to(torch.bfloat16)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    padded = tokenizer(["one", "one two three"], padding=True)["input_ids"]
    model.train()
    model.get_decoder().layers[1].eval()  # some of it trains and some does not, as people have it
    seen: list[object] = []
    model.get_decoder().layers[0].register_forward_hook(lambda *_: seen.append(None))
    modes = {name: module.training for name, module in model.named_modules()}
    hooks = {name: list(module._forward_hooks) for name, module in model.named_modules()}
    weights = copy.deepcopy(model.state_dict())
    gradients = {name: each.requires_grad for name, each in model.named_parameters()}
    random = torch.get_rng_state()
    found = mossa.represent(model, tokenizer, PROMPTS)
    assert found.dtype == torch.float32 and seen  # their hook was heard
    torch.testing.assert_close(mossa.represent(model.eval(), tokenizer, PROMPTS), found, rtol=0, atol=0)
    model.train()
    model.get_decoder().layers[1].eval()
    assert {name: module.training for name, module in model.named_modules()} == modes
    mossa.represent(model, tokenizer, PROMPTS)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: list(module._forward_hooks) for name, module in model.named_modules()} == hooks
    assert {name: each.requires_grad for name, each in model.named_parameters()} == gradients
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert tokenizer.padding_side == "left" and tokenizer(["one", "one two three"], padding=True)["input_ids"] == padded


def test_the_model_is_restored_after_an_error() -> None:
    model, tokenizer = make_model("llama").train(), make_tokenizer()

    def refuse(*_: object) -> None:
        raise RuntimeError("no")

    hook = model.get_decoder().layers[2].register_forward_hook(refuse)
    with pytest.raises(RuntimeError, match="no"):
        mossa.represent(model, tokenizer, PROMPTS)
    assert model.training and [len(block._forward_hooks) for block in model.model.layers] == [0, 0, 1]
    hook.remove()


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"prompts": "one text"}, DataError, "prompts is one str; give a list of texts, such as [prompt]."),
        ({"prompts": ["one " * 200]}, DataError, "Set prompt.too_long to"),
        ({"too_long": "skip"}, DataError, "would leave rows out"),
        ({"template": "nothing"}, StudyError, "does not hold {prompt} exactly once"),
        ({"cutoff": 2}, StudyError, "greater than or equal to 8"),
        ({"model": torch.nn.Linear(2, 2)}, ModelError, "not a causal language model"),
    ],
)
def test_what_cannot_be_represented_is_a_sentence(change: dict, error: type[Exception], sentence: str) -> None:
    given = {"model": make_model("llama"), "tokenizer": make_tokenizer(), "prompts": PROMPTS, **change}
    with pytest.raises(error) as raised:
        mossa.represent(**given)
    assert sentence in str(raised.value)


def test_a_long_prompt_is_shortened_if_asked_and_prompt_learning_is_refused() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer()
    assert mossa.represent(model, tokenizer, ["one " * 200, "two"], too_long="shorten-start").shape == (2, 3, 32)
    tuned = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ModelError, match="adds tokens to every prompt"):
        mossa.represent(tuned, tokenizer, PROMPTS)


def test_cka_prints_as_a_table_of_layers() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer()
    Y = mossa.represent(model, tokenizer, PROMPTS)
    Z = mossa.represent(make_model("llama", seed=1), tokenizer, PROMPTS)
    found = mossa.cka(Y, Z)
    lines = repr(found).splitlines()
    assert lines[0] == "cka-linear, 5 prompts" and len(lines) == 5
    assert lines[2].split()[:3] == ["1", f"{found.value[0]:.3f}", f"{found.standard_error[0]:.4f}"]
    plain = mossa.cka(Y[:, 0].numpy(), Z[:, 0].numpy(), kernel="rbf", bandwidth=2.0)
    assert repr(plain).startswith("cka-rbf (bandwidth 2), 5 prompts") and repr(plain).count("\n") == 2
    compared = compare({"pretrained": Y, "sft": Z}, Z, ["cka-linear"])
    assert "sft, cka-linear: 1.000 (3 of 3 layers)" in repr(compared)
