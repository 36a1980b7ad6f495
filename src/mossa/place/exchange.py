"""Losses of models that are assembled layer by layer from a base and a tuned one; what they share is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from mossa.models.batches import Allowance, border_of, for_each_batch
from mossa.models.prompts import Encoded
from mossa.place.blocks import ENDS
from mossa.place.change import TOKEN_BUDGET
from mossa.place.estimates import Floats
from mossa.place.stack import Stack, Trace, Variant

Choice = tuple[Variant, ...]  # which variant is used at each of 0..L; 0: embeddings, final norm and head


def block_runs(choices: Iterable[Choice]) -> int:
    """Return how many blocks are run for these models: one per sequence of first layers that some of them share."""
    return len({choice[: end + 1] for choice in choices for end in range(1, len(choice))})


@torch.no_grad()
def exchanged_losses(stack: Stack, examples: Sequence[Encoded], choices: Sequence[Choice]) -> Floats:
    """Return the sum of the target tokens' losses (nats) of every example in every model, `[n, choices]`.

    The models are walked as a tree: those that agree in their first k layers share them. A batch keeps one state per
    layer on the way down, so memory does not grow with the number of models.
    """
    found = np.zeros((len(examples), len(choices)))

    def one(group: list[int]) -> None:
        batch = [examples[index] for index in group]
        sequences = [example.tokens for example in batch]
        counts = [len(example.tokens) - example.prompt_length for example in batch]
        base = stack.trace("base", sequences)
        owners = torch.tensor([place for place, count in enumerate(counts) for _ in range(count)])
        places = torch.tensor([p - 1 for e in batch for p in range(e.prompt_length, len(e.tokens))])
        labels = torch.tensor([token for e in batch for token in e.tokens[e.prompt_length :]])

        def walk(layer: int, states: torch.Tensor, members: list[int], trace: Trace) -> None:
            if layer > stack.layers:
                side = "tuned" if choices[members[0]][ENDS] == "tuned" else "base"
                rows = states[owners.to(states.device), places.to(states.device)]
                losses = stack.losses(side, rows, labels).numpy()
                sums = np.bincount(owners.numpy(), weights=losses, minlength=len(batch))
                found[np.ix_(group, members)] = sums[:, None]
                return
            for variant, those in _split(choices, members, layer).items():
                walk(layer + 1, stack.run(layer, variant, states, trace), those, trace)

        for end, those in _split(choices, range(len(choices)), ENDS).items():
            start = stack.trace("tuned", sequences) if end == "tuned" else base
            walk(1, start.states[0], those, base)

    lengths = [len(example.tokens) for example in examples]
    border = border_of(stack.models["base"], max(lengths, default=0))
    for_each_batch(lengths, TOKEN_BUDGET[stack.device.type], Allowance(), one, border)
    return found


def _split(choices: Sequence[Choice], members: Iterable[int], layer: int) -> dict[Variant, list[int]]:
    parts: dict[Variant, list[int]] = {}
    for member in members:
        parts.setdefault(choices[member][layer], []).append(member)
    return parts
