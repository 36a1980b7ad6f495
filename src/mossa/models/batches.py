"""Groups sequences of similar length into right-padded batches under a token budget.

Right padding needs no attention mask in a causal model: no position can see what comes after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def by_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Return groups of indices, longest first, with (group size) x (its longest) <= `token_budget`.

    A sequence longer than the budget is a group of its own. Ties keep their order, so the groups are a function of
    the lengths alone.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def pad_right(sequences: Sequence[Sequence[int]], device: torch.device | str) -> torch.Tensor:
    """Return the sequences as one `[batch, longest]` tensor of token ids, filled with zeros on the right."""
    padded = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return padded.to(device)
