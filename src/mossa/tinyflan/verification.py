"""The planted truth, verified: how well a base answers each task in natural form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

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
    found: list[bool] = []
    for prompt, target in zip(prompts, targets, strict=True):
        head = tokenizer(prompt)["input_ids"]
        tail = [*tokenizer(target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([[*head, *tail]])
        guesses = model(ids, use_cache=False).logits[0, len(head) - 1 : -1].argmax(-1)
        found.append(guesses.tolist() == tail)
    return found


def verify_planting(
    base: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, n: int = 100, seed: int = 0
) -> list[Verified]:
    """Return for every task how `model` answers it in natural form, on inputs of the test split."""
    skills = set(planted(base)) if base != "random" else set[str]()
    results: list[Verified] = []
    for task in specifications().values():
        rng = Random(f"tinyflan verification {task.name} {seed}")
        examples = [natural_example(task, rng, "test") for _ in range(n)]
        targets = [example.target for example in examples]
        right = exact_matches(model, tokenizer, [example.prompt for example in examples], targets)
        chance = Counter(targets).most_common(1)[0][1] / n
        results.append(Verified(task.name, task.name in skills, sum(right) / n, chance, n))
    return results
