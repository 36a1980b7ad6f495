"""The planted truth, verified: how well a base answers each task in natural form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.tinyflan.documents import natural_example
from experiments.tinyflan.tokenizer import token_ids
from mossa.tinyflan.bases import SHIPPED, base_folder, taught_tasks
from mossa.tinyflan.catalogue import specifications
from mossa.tinyflan.world import pools

# How far above chance the probability of the right answer may lie where a skill is not planted.
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Verified:
    """One task of one base, over `n` natural texts that pre-training never used.

    `accuracy` is the share of answers whose every token is the likeliest; `probability` is the mean probability of
    the right answer; `chance` is the share of the most frequent answer, the best that one who ignores the input can
    expect of either. `words` is the number of different things the lexicon can say.
    """

    task: str
    planted: bool
    accuracy: float
    probability: float
    chance: float
    words: int
    n: int

    @property
    def holds(self) -> bool:
        """Return whether a planted skill exceeds 0.9, or one that is not planted is at chance.

        At chance: the mean probability of the right answer is at most 0.05 above it, and the accuracy at most three
        standard errors. Where all answers are nearly equally likely, the likeliest is a coin thrown once for each
        word of the lexicon and not for each text, so the error is that of `words` throws.
        """
        if self.planted:
            return self.accuracy > 0.9
        throws = min(self.n, self.words)
        error = max(self.chance * (1 - self.chance) / throws, 1 / throws**2) ** 0.5
        return self.probability <= self.chance + TOLERANCE and self.accuracy <= self.chance + 3 * error


@torch.inference_mode()
def answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], targets: list[str]
) -> list[tuple[bool, float]]:
    """Return for each prompt whether every token of its target is the likeliest, and the target's probability.

    The end after the target counts as its last token.
    """
    heads = token_ids(tokenizer, prompts)
    tails = token_ids(tokenizer, [f"{target}</s>" for target in targets], special=False)
    rows = [torch.tensor([*head, *tail]) for head, tail in zip(heads, tails, strict=True)]
    # Padding on the right needs no mask: a causal model never looks there from the left.
    hidden = model.model(pad_sequence(rows, batch_first=True), use_cache=False).last_hidden_state
    found: list[tuple[bool, float]] = []
    for row, head, tail in zip(hidden, heads, tails, strict=True):
        scores = model.lm_head(row[len(head) - 1 : len(head) - 1 + len(tail)]).log_softmax(-1)
        likely = scores[range(len(tail)), tail].sum().exp().item()
        found.append((scores.argmax(-1).tolist() == tail, likely))
    return found


def lexicon_size(lexicon: Mapping[str, Any]) -> int:
    """Return how many words a lexicon holds; a task without one decides by words of the world."""
    return sum(len(words) for words in lexicon.values()) or len(pools()["numbers"])


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
    skills = taught_tasks(base)
    results: list[Verified] = []
    for task in specifications().values():
        rng = Random(f"tinyflan verification {task.name} {seed}")
        examples = [natural_example(task, rng, "test") for _ in range(n)]
        targets = [example.target for example in examples]
        answers = answer(model, tokenizer, [example.prompt for example in examples], targets)
        results.append(
            Verified(
                task.name,
                task.name in skills,
                accuracy=sum(right for right, _ in answers) / n,
                probability=sum(likely for _, likely in answers) / n,
                chance=Counter(targets).most_common(1)[0][1] / n,
                words=lexicon_size(task.lexicon),
                n=n,
            )
        )
    return results
