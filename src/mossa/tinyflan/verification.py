"""The planted truth, verified: how well a base answers each task in natural form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mossa.tinyflan.bases import SHIPPED, base_folder
from mossa.tinyflan.catalogue import specifications
from mossa.tinyflan.planting import natural_example, planted


@dataclass(frozen=True, slots=True)
class Verified:
    """One task of one base: `accuracy` over `n` natural texts that pre-training never used, and `chance`.

    `chance` is the share of the most frequent answer, the best that one who ignores the input can do.
    """

    task: str
    planted: bool
    accuracy: float
    chance: float
    n: int

    @property
    def holds(self) -> bool:
        """Return whether a planted skill exceeds 0.9, or one that is not planted is within 3 errors of chance."""
        if self.planted:
            return self.accuracy > 0.9
        error = max(self.chance * (1 - self.chance) / self.n, 1 / self.n**2) ** 0.5
        return self.accuracy <= self.chance + 3 * error


@torch.inference_mode()
def exact_matches(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], targets: list[str]
) -> list[bool]:
    """Return for each prompt whether every token of its target, and the end after it, is the likeliest."""
    heads = tokenizer(prompts)["input_ids"]
    tails = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(targets, add_special_tokens=False)["input_ids"]]
    rows = [torch.tensor([*head, *tail]) for head, tail in zip(heads, tails, strict=True)]
    # Padding on the right needs no mask: a causal model never looks there from the left.
    ids = pad_sequence(rows, batch_first=True)
    guesses = model(ids, use_cache=False).logits.argmax(-1)
    return [
        row[len(head) - 1 : len(head) - 1 + len(tail)].tolist() == tail
        for row, head, tail in zip(guesses, heads, tails, strict=True)
    ]


def verify_planting(base: str, folder: Path = SHIPPED, n: int = 100, seed: int = 0) -> list[Verified]:
    """Return for every task how a built base answers it in natural form, on `n` inputs of the test split.

    Raises `ModelError` if there is no such base or its files are damaged.
    """
    place = base_folder(base, folder)
    model = LlamaForCausalLM.from_pretrained(place, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place)
    return verify_model(base, model, tokenizer, n, seed)


def verify_model(
    base: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, n: int = 100, seed: int = 0
) -> list[Verified]:
    """Return for every task how `model`, trained as `base`, answers it in natural form."""
    skills = planted(base)
    results: list[Verified] = []
    for task in specifications().values():
        rng = Random(f"tinyflan verification {task.name} {seed}")
        examples = [natural_example(task, rng, "test") for _ in range(n)]
        targets = [example.target for example in examples]
        right = exact_matches(model, tokenizer, [example.prompt for example in examples], targets)
        chance = Counter(targets).most_common(1)[0][1] / n
        results.append(Verified(task.name, task.name in skills, sum(right) / n, chance, n))
    return results
