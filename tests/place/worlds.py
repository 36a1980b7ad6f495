"""A small base, models tuned from it in ways that are known, and what brute force says of them."""

from __future__ import annotations

import copy
from itertools import permutations
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from mossa.models.blocks import blocks_of
from mossa.models.prompts import Encoded
from tests.small import ARCHITECTURES, examples, make_tokenizer

LAYERS = 4


def make_base(layers: int = LAYERS, architecture: str = "llama", seed: int = 0) -> Any:
    """Return a fresh model in float64 whose layers differ enough to be told apart."""
    torch.manual_seed(seed)
    settings = {**ARCHITECTURES[architecture]}
    settings["n_layer" if "n_layer" in settings else "num_hidden_layers"] = layers
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings)).double().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(20 if any(part in name for part in ("embed", "wte", "lm_head")) else 4)
    return model.requires_grad_(False)


LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_adapted(
    base: Any, layers: tuple[int, ...], data: list[Encoded], steps: int = 8, modules: tuple[str, ...] = LINEAR
) -> Any:
    """Return a copy of the base with a LoRA adapter on some layers, counted from 1, that has learned `data`."""
    torch.manual_seed(1)
    where = [layer - 1 for layer in layers]
    config = LoraConfig(r=4, target_modules=list(modules), layers_to_transform=where, task_type="CAUSAL_LM")
    model = get_peft_model(copy.deepcopy(base), config).double()
    learn(model, [weight for weight in model.parameters() if weight.requires_grad], data, steps)
    return model.requires_grad_(False).eval()


def make_checkpoint(base: Any, parts: tuple[str, ...], data: list[Encoded], steps: int = 8) -> Any:
    """Return a copy of the base of which the weights whose names hold one of `parts` have learned `data`."""
    model = copy.deepcopy(base)
    chosen = [weight for name, weight in model.named_parameters() if any(part in name for part in parts)]
    for weight in chosen:
        weight.requires_grad_(True)
    learn(model, chosen, data, steps, rate=1e-3)
    return model.requires_grad_(False).eval()


def learn(model: Any, weights: list[Any], data: list[Encoded], steps: int, rate: float = 1e-2) -> None:
    """Take some plain steps on all of the data."""
    optimizer = torch.optim.Adam(weights, lr=rate)
    for _ in range(steps):
        sum(plain_loss(model, example) for example in data).backward()
        optimizer.step()
        optimizer.zero_grad()


def make_data(count: int = 8, task: str = "first") -> list[Encoded]:
    """Return prompts of different lengths with their targets, as tokens."""
    tokenizer = make_tokenizer()
    made: list[Encoded] = []
    for index, example in enumerate(examples(task, count)):
        prompt = [1, *tokenizer(example["inputs"], add_special_tokens=False)["input_ids"], 4]
        target = tokenizer(example["targets"], add_special_tokens=False)["input_ids"]
        made.append(Encoded([*prompt, *target, 2], len(prompt), False, index))
    return made


def plain_loss(model: Any, example: Encoded) -> torch.Tensor:
    """Return the sum of the target tokens' losses of one example alone."""
    ids = torch.tensor([list(example.tokens)])
    logits = model(input_ids=ids).logits[0, example.prompt_length - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, ids[0, example.prompt_length :], reduction="sum")


def exchanged(base: Any, tuned: Any, layers: set[int]) -> Any:
    """Return the base with some whole blocks of the tuned model; layer 0: all that is outside the blocks."""
    start, other = (tuned, base) if 0 in layers else (base, tuned)
    mixed = copy.deepcopy(start)
    for place, block in enumerate(blocks_of(other)):
        if (place + 1 in layers) != (0 in layers):
            blocks_of(mixed)[place] = block
    return mixed


def brute_force(base: Any, tuned: Any, data: list[Encoded], players: list[int]) -> dict[str, dict[int, float]]:
    """Return the readings of a graft by the definition, one model and one example at a time, over all orders."""
    tokens = sum(len(example.tokens) - example.prompt_length for example in data)
    known: dict[frozenset[int], float] = {}

    def gain(layers: set[int]) -> float:
        key = frozenset(layers)
        if key not in known:
            model = exchanged(base, tuned, set(layers))
            with torch.no_grad():
                known[key] = -sum(float(plain_loss(model, example)) for example in data) / tokens
        return known[key]

    everyone = set(players)
    orders = list(permutations(players))
    return {
        "leave-one-out": {p: gain(everyone) - gain(everyone - {p}) for p in players},
        "add-one-in": {p: gain({p}) - gain(set()) for p in players},
        "first-k": {p: gain({q for q in players if q <= p}) - gain({q for q in players if q < p}) for p in players},
        "last-k": {p: gain({q for q in players if q >= p}) - gain({q for q in players if q > p}) for p in players},
        "shapley": {
            p: sum(gain({*o[: o.index(p)], p}) - gain(set(o[: o.index(p)])) for o in orders) / len(orders)
            for p in players
        },
        "gain": {0: gain(everyone) - gain(set())},
    }
