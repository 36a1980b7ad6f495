"""What a model answers by itself: its greedy answers to a few prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mossa.models.batches import Allowance
from mossa.models.prefix import feed_in_batches
from mossa.models.prompts import Encoded, targets_of
from mossa.training.loss import TOKEN_BUDGET, micro_batch, most_targets, target_logits, vocabulary_of

MOST = 32
"""Tokens from which a wrong answer is not continued."""


def greedy_replies(
    model: Any, examples: Sequence[Encoded], device: torch.device, longest: int, allowance: Allowance | None = None
) -> list[list[int]]:
    """Return the tokens of the model's greedy answer to each prompt, up to its end-of-sequence token.

    `examples` hold their targets: one pass over these gives every answer up to its first token that differs from the
    target, so a right answer costs no more. A wrong one is not continued beyond `MOST` tokens, nor beyond `longest`
    together with its prompt.
    """
    answers = [
        _as_far_as_alike(said, list(example.tokens[example.prompt_length :]))
        for said, example in zip(_predicted(model, examples, device, allowance), examples, strict=True)
    ]
    while waiting := [
        place
        for place, example in enumerate(examples)
        if answers[place][-1] != example.tokens[-1]
        and len(answers[place]) < MOST
        and example.prompt_length + len(answers[place]) < longest
    ]:
        asked = [_continued(examples[place], answers[place]) for place in waiting]
        for place, (token,) in zip(waiting, _predicted(model, asked, device, allowance), strict=True):
            answers[place].append(token)
    return answers


def _as_far_as_alike(said: list[int], target: list[int]) -> list[int]:
    """Return the tokens that were said up to the first that differs from the target, that one included."""
    other = next((place for place, pair in enumerate(zip(said, target, strict=True)) if pair[0] != pair[1]), len(said))
    return said[: other + 1]


def _continued(example: Encoded, answer: list[int]) -> Encoded:
    """Return the prompt with its answer so far, and a place for one more token."""
    tokens = [*example.tokens[: example.prompt_length], *answer]
    return Encoded([*tokens, 0], len(tokens), example.shortened, example.index)


@torch.no_grad()
def _predicted(
    model: Any, examples: Sequence[Encoded], device: torch.device, allowance: Allowance | None
) -> list[list[int]]:
    """Return the likeliest token at every target position of each example, given the tokens before it."""
    found: list[list[int]] = [[] for _ in examples]

    def predict(places: list[int], batch: list[Encoded], given: dict[str, Any]) -> None:
        ids, rows, _ = micro_batch(batch, range(len(batch)), device)
        likeliest = target_logits(model, ids, rows, given).argmax(-1).cpu()
        for place, tokens in zip(places, likeliest.split(targets_of(batch)), strict=True):
            found[place] = tokens.tolist()

    feed_in_batches(model, examples, TOKEN_BUDGET[device.type], predict, allowance, most_targets(vocabulary_of(model)))
    return found
