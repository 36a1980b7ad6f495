"""Small real models of many architectures, a small tokenizer, and small tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    "Answer",
    ":",
    "?",
    ".",
    ",",
    "is",
    "the",
    "a",
    "of",
    "what",
    "say",
    "not",
    "it",
    "good",
    "bad",
    "red",
    "blue",
    "green",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "cat",
    "dog",
    "bird",
    "fish",
    "tree",
    "house",
    "car",
    "sun",
    "moon",
    "yes",
    "no",
    "up",
    "down",
    "left",
    "right",
    "big",
    "tiny",
    "hot",
    "cold",
    "again",
]
COMMON = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
GROUPED = {"num_key_value_heads": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {**COMMON, **GROUPED},
    "qwen2": {**COMMON, **GROUPED},
    "qwen3": {**COMMON, **GROUPED, "head_dim": 8},
    "gemma2": {**COMMON, **GROUPED, "head_dim": 8},
    "gemma3_text": {**COMMON, **GROUPED, "head_dim": 8},
    "gpt2": {
        "vocab_size": 96,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 96,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "gpt_neox": COMMON,
    "mistral": {**COMMON, **GROUPED, "sliding_window": 16},
    "mixtral": {**COMMON, **GROUPED, "num_local_experts": 4},
    "phi": COMMON,
    "opt": {**COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"vocab_size": 96, "hidden_size": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2},
    "falcon": COMMON,
    "olmo2": {**COMMON, **GROUPED},
}


def make_model(architecture: str, seed: int = 0) -> Any:
    """Return a freshly initialised model; weights are wider than usual, so that layers differ and can be steered."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture])
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(20 if any(part in name for part in ("embed", "wte", "lm_head")) else 4)
    return model.eval()


def make_tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer that puts one BOS first and has no pad token."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=96
    )
    made.chat_template = chat_template
    return made


def save_base(folder: Path, architecture: str = "llama", seed: int = 0) -> Path:
    """Save a small model and its tokenizer to `folder` and return it."""
    make_model(architecture, seed).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def examples(task: str, count: int = 120) -> list[dict[str, str]]:
    """Return examples of one of four small tasks, prompts of different lengths, all different."""
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    things = ["cat", "dog", "bird", "fish", "tree", "house", "car", "sun", "moon"]
    made: list[dict[str, str]] = []
    for index in range(count):
        number, thing, other = numbers[index % 10], things[index // 10 % 9], things[(index // 90 + index) % 9]
        filler = " ".join(numbers[(index + k) % 10] for k in range(index % 7))
        prompt, target = {
            "first": (f"say {number} {thing} {other} {filler}", number),
            "second": (f"what is the {thing} of {number} {other} {filler} ?", thing),
            "colour": (f"the {thing} is {number} . {filler} {other}", ["red", "blue", "green"][index % 3]),
            "again": (f"{filler} {number} {thing} {other} again", f"{number} {thing}"),
        }[task]
        made.append({"inputs": prompt, "targets": target, "task": task})
    return made


def save_tasks(folder: Path) -> Path:
    """Save the four small tasks with their clusters to `folder` and return it."""
    for task in ("first", "second", "colour", "again"):
        lines = (json.dumps(example) for example in examples(task))
        (folder / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
    clusters = {"copying": ["first", "again"], "naming": ["second", "colour"]}
    (folder / "tasks.json").write_text(json.dumps({"clusters": clusters}))
    return folder


def hidden_states(model: Any, tokens: list[list[int]]) -> torch.Tensor:
    """Return the last token's states after every layer, `[n, L, d]`, one prompt at a time, by Hugging Face alone."""
    rows = []
    for row in tokens:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
        rows.append(torch.stack([state[0, -1] for state in states[1:]]))
    return torch.stack(rows)
