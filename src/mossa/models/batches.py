"""Groups sequences of similar length into right-padded batches under a token budget.

Right padding needs no attention mask in a causal model: no position can see what comes after it. Some models become
another function once a batch is longer than they were trained for: beyond that, a batch has sequences of one length.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mossa.errors import ModelError
from mossa.models.kernels import unplanned_attention

# What torch's allocators and cuBLAS say in a plain RuntimeError.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")

# ... and what they say, as a plain one too, when a GPU can no longer be used by this process.
NO_DEVICE = ("CUDA error", "CUDA unknown error", "CUDA driver", "HIP error", "cuDNN error")

# Settings that tell a number of positions, whatever a family calls it: max_position_embeddings, seq_length, n_ctx, …
POSITIONS = re.compile(r"position|seq(uence)?_?len|n_ctx|context_len|train\w*_len")


class Allowance:
    """How large batches may be: halved whenever memory runs out, and counted in `halvings`."""

    def __init__(self) -> None:
        self.halvings = 0

    def tokens(self, full: int) -> int:
        """Return how many padded tokens, or targets, a batch may have where `full` were wanted."""
        return max(1, full >> self.halvings)

    def halve(self, longest: int, single: bool) -> None:
        """Halve batches from now on; raises `ModelError` if the batch that did not fit was a `single` sequence."""
        if single:
            raise ModelError(
                f"memory ran out on a single sequence of {longest} tokens. Lower prompt.cutoff, set "
                "recipe.gradient_checkpointing: auto, base.dtype: bfloat16 or base.quantise: 4-bit, or use a device "
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


def lost_its_device(error: BaseException) -> bool:
    """Tell whether an error, or what it came from, leaves this process without a GPU it could go on with.

    CUDA reports an error of a kernel at whatever is asked next, and at everything that is asked after it.
    """
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    return any(
        isinstance(each, torch.AcceleratorError) or any(words in str(each) for words in NO_DEVICE)
        for each in chain
        if isinstance(each, RuntimeError) and not ran_out_of_memory(each)
    )


def for_each_batch(
    lengths: Sequence[int],
    token_budget: int,
    allowance: Allowance,
    do: Callable[[list[int]], None],
    border: float,
    targets: Sequence[int] = (),
    most: int = sys.maxsize,
) -> None:
    """Call `do` with groups of indices as `by_length` makes them, smaller ones once memory has run out.

    `do` may be called again for a group over which memory ran out. Raises `ModelError` if not even one fits.
    """

    def grouped(left: list[int]) -> list[list[int]]:
        held = [targets[index] for index in left] if targets else ()
        sizes = [lengths[index] for index in left]
        groups = by_length(sizes, allowance.tokens(token_budget), border, held, allowance.tokens(most))
        return [[left[place] for place in group] for group in groups]

    waiting = grouped(list(range(len(lengths))))
    while waiting:
        group = waiting[0]
        try:
            with unplanned_attention():
                do(group)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
        else:
            waiting.pop(0)
            continue
        allowance.halve(lengths[group[0]], single=len(group) == 1)  # only here: the error no longer holds its tensors
        waiting = grouped([index for group in waiting for index in group])


def by_length(
    lengths: Sequence[int],
    token_budget: int,
    border: float = math.inf,
    targets: Sequence[int] = (),
    most: float = math.inf,
) -> list[list[int]]:
    """Return groups of indices, longest first, with (group size) x (its longest) <= `token_budget`.

    Where sequences have `targets`, those of a group are at most `most`. A sequence beyond one of the two is a group of
    its own, and those beyond `border` share one with their equals alone. Ties keep their order, so the groups are a
    function of the numbers alone.
    """
    groups: list[list[int]] = []
    held = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest, own = lengths[groups[-1][0]] if groups else 0, targets[index] if targets else 0
        fits = groups and (len(groups[-1]) + 1) * longest <= token_budget and held + own <= most
        if fits and (longest <= border or longest == lengths[index]):
            groups[-1].append(index)
            held += own
        else:
            groups.append([index])
            held = own
    return groups


def least_filled(
    lengths: Sequence[int],
    token_budget: int,
    each: float,
    border: float = math.inf,
    targets: Sequence[int] = (),
    most: float = math.inf,
) -> list[list[int]]:
    """Return groups as `by_length` does, but those of the least padded tokens plus `each` tokens for every group.

    Exact over all ways to cut the sequences, sorted by length, into groups that `by_length` would allow.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    costs, begins = [0.0], [0]  # of the cheapest way to group the first `end` of them, and where its last group begins
    for end in range(1, len(order) + 1):
        found: list[tuple[float, int]] = []
        held = 0
        for start in reversed(range(end)):
            longest = lengths[order[start]]
            held += targets[order[start]] if targets else 0
            single, alike = start == end - 1, longest <= border or longest == lengths[order[end - 1]]
            if not single and not (alike and (end - start) * longest <= token_budget and held <= most):
                break  # a group that begins earlier is larger still
            found.append((costs[start] + (end - start) * longest + each, start))
        cost, begin = min(found)
        costs.append(cost)
        begins.append(begin)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(order[begins[end] : end])
        end = begins[end]
    return groups[::-1]


def border_of(model: Any, longest: int) -> float:
    """Return the length beyond which a model may be another function of every token, the longer its batch is.

    Models with longrope (Phi-3) rotate all positions differently once the longest sequence of a batch passes
    `original_max_position_embeddings`; others scale attention by the batch's length (logN). Any number of positions in
    the configuration may be such a border, also of code that we do not know: the lowest is taken, for one that is none
    costs no more than fuller batches of very long sequences. Raises `ModelError` where positions depend on what the
    model has read before (dynamic NTK), and `longest`, the most tokens it is to be fed, goes that far.
    """
    config = model.config.get_text_config()
    ropes: Any = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [str(rope.get("rope_type", rope.get("type"))) for rope in (ropes, *ropes.values()) if hasattr(rope, "get")]
    if any("dynamic" in kind for kind in kinds) and longest > config.max_position_embeddings:
        raise ModelError(
            f"{longest} tokens: beyond {config.max_position_embeddings}, positions of this model depend on what it has "
            "read before (dynamic NTK). Set prompt.cutoff to that or less."
        )
    return min((value for name, value in _numbers(config.to_dict()) if POSITIONS.search(name)), default=math.inf)


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield every whole number above 1 in a configuration, with the name of its setting."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, str(key))
    elif isinstance(value, int) and value > 1:
        yield name, value


def pad_right(sequences: Sequence[Sequence[int]], device: torch.device | str) -> torch.Tensor:
    """Return the sequences as one `[batch, longest]` tensor of token ids, filled with zeros on the right."""
    padded = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return padded.to(device)
