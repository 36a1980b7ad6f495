"""Groups sequences of similar length into right-padded batches under a token budget.

Right padding needs no attention mask in a causal model: no position can see what comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mossa.errors import ModelError

# What torch's allocators and cuBLAS say in a plain RuntimeError.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class Allowance:
    """How large batches may be: halved whenever memory runs out, and counted in `halvings`."""

    def __init__(self) -> None:
        self.halvings = 0

    def tokens(self, full: int) -> int:
        """Return how many padded tokens a batch may have where `full` were wanted."""
        return max(1, full >> self.halvings)

    def halve(self, longest: int, single: bool) -> None:
        """Halve batches from now on; raises `ModelError` if the batch that did not fit was a `single` sequence."""
        if single:
            raise ModelError(
                f"memory ran out over a single sequence of {longest} tokens. Lower prompt.cutoff, set "
                "recipe.gradient_checkpointing: true, base.dtype: bfloat16 or base.quantise: 4-bit, or use a device "
                "with more memory."
            )
        self.halvings += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def ran_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that a device or this process had no memory left."""
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        return any(words in str(error) for words in NO_MEMORY)
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def for_each_batch(
    lengths: Sequence[int], token_budget: int, allowance: Allowance, do: Callable[[list[int]], None]
) -> None:
    """Call `do` with groups of indices as `by_length` makes them, smaller ones once memory has run out.

    `do` may be called again for a group over which memory ran out. Raises `ModelError` if not even one fits.
    """
    waiting = by_length(lengths, allowance.tokens(token_budget))
    while waiting:
        group = waiting[0]
        try:
            do(group)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
        else:
            waiting.pop(0)
            continue
        allowance.halve(lengths[group[0]], single=len(group) == 1)  # only here: the error no longer holds its tensors
        left = [index for group in waiting for index in group]
        again = by_length([lengths[index] for index in left], allowance.tokens(token_budget))
        waiting = [[left[place] for place in group] for group in again]


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
