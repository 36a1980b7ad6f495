"""Completion-only loss of a batch of any shape, with logits at target positions alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from mossa.models.batches import Allowance, border_of, by_length, least_filled, pad_right
from mossa.models.kernels import unplanned_attention
from mossa.models.prefix import WITHOUT_CACHE, feed_in_batches
from mossa.models.prompts import Encoded, targets_of

TOKEN_BUDGET = {"cpu": 1024, "cuda": 16384}  # padded tokens in one micro-batch
LARGE = 100_000_000  # weights from which on a CPU filling costs more than what each micro-batch costs beside its tokens
LARGE_BUDGET = 256
# Weights x tokens that a GPU multiplies while the operations of one micro-batch are sent to it. Counted, not measured:
# about 4,000 operations at 10 µs, beside 4 per weight and token at 340 Tflop/s. At 7 billion weights: 500 tokens.
DISPATCH = 3.4e12
# Numbers in the logits of one micro-batch, which take 4.3 GB with their gradients. Over 128,256 words that is 2,092
# target tokens. Over 262,144 it is as many as a CPU takes tokens at once, so on a CPU it changes nothing.
LOGITS_AT_ONCE = 2**28
SHORT = 512  # tokens up to which plain attention may keep the square of a sequence


def count_targets(examples: Sequence[Encoded]) -> int:
    """Return the number of target tokens, ends of sequence included."""
    return sum(targets_of(examples))


def token_budget(device: str, weights: int) -> int:
    """Return how many padded tokens a micro-batch of a training step has with a base of so many weights."""
    return LARGE_BUDGET if device == "cpu" and weights >= LARGE else TOKEN_BUDGET[device]


def most_targets(vocabulary: int) -> int:
    """Return how many target tokens a micro-batch has at most, where logits are over so many words."""
    return max(1, LOGITS_AT_ONCE // vocabulary)


def vocabulary_of(model: Any) -> int:
    """Return over how many words the logits of a model are."""
    return model.get_output_embeddings().weight.shape[0]


def micro_batches(
    lengths: Sequence[int],
    device: str,
    weights: int,
    tokens: int,
    border: float = math.inf,
    targets: Sequence[int] = (),
    most: float = math.inf,
) -> list[list[int]]:
    """Return the groups of at most `tokens` padded tokens in which a training step goes through a base.

    A group has at most `most` of the `targets` that sequences have, unless a single one has more. A GPU weighs filling
    against what each group costs beside its tokens; on a CPU that is little, and groups are full.
    """
    if device == "cpu":
        return by_length(lengths, tokens, border, targets, most)
    return least_filled(lengths, tokens, DISPATCH / weights, border, targets, most)


def micro_batch(
    examples: Sequence[Encoded], group: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (input ids `[b, s]`, rows, labels) of a group: row k of the flattened `[b·s]` output predicts label k.

    Labels come in the order of `group`, each example's targets in sequence.
    """
    chosen = [examples[index] for index in group]
    ids = pad_right([example.tokens for example in chosen], device)
    rows = [
        row * ids.shape[1] + position
        for row, example in enumerate(chosen)
        for position in range(example.prompt_length - 1, len(example.tokens) - 1)
    ]
    index = torch.tensor(rows, device=device)
    return ids, index, ids.flatten()[index + 1]


def target_logits(
    model: Any, ids: torch.Tensor, rows: torch.Tensor, given: Mapping[str, Any] = WITHOUT_CACHE
) -> torch.Tensor:
    """Return the logits `[m, vocabulary]` at `rows` of the flattened output; the head sees no other position.

    `given`: what the model takes besides `ids`.
    """
    with _only_rows(model.get_output_embeddings(), rows):
        return model(input_ids=ids, **given).logits[0]


def backward(
    model: Any,
    examples: Sequence[Encoded],
    device: torch.device,
    groups: Sequence[list[int]] | None = None,
    targets: int | None = None,
) -> float:
    """Add the gradient of the mean loss over all target tokens of `examples`; return that loss (nats per token).

    Sums over micro-batches are divided once by the target tokens of the whole step, so the gradient is that of one
    plain batch, however the examples are grouped (None: as a training step groups them). `targets`: the target tokens
    of the step, where `examples` are a part of it.
    """
    total = count_targets(examples) if targets is None else targets
    losses: list[torch.Tensor] = []
    for group in step_groups(model, examples, device) if groups is None else groups:
        ids, rows, labels = micro_batch(examples, group, device)
        with _attention(ids, model.dtype):  # around the backward pass too, which may compute activations again
            logits = _upcast(target_logits(model, ids, rows))
            loss = functional.cross_entropy(logits, labels.to(logits.device), reduction="sum") / total
            loss.backward()
        losses.append(loss.detach())
    return sum(map(float, losses))  # after the last one: looking at a number waits for the GPU


class Scores(NamedTuple):
    """For each example the sum of its target tokens' losses (nats), and whether every one is the argmax."""

    losses: list[float]
    exact: list[bool]

    @classmethod
    def of(cls, n: int) -> Scores:
        """Return the scores of `n` examples, to be filled in."""
        return cls([0.0] * n, [False] * n)

    def add(
        self,
        places: Sequence[int],
        batch: Sequence[Encoded],
        model: Any,
        device: torch.device,
        given: Mapping[str, Any],
    ) -> None:
        """Run `model` over a batch, whose examples stand at `places`; `given` is what it takes besides their tokens."""
        ids, rows, labels = micro_batch(batch, range(len(batch)), device)
        logits = _upcast(target_logits(model, ids, rows, given))
        labels = labels.to(logits.device)
        losses = functional.cross_entropy(logits, labels, reduction="none").double().cpu()
        right = (logits.argmax(-1) == labels).cpu()
        counts = targets_of(batch)
        for place, loss, hit in zip(places, losses.split(counts), right.split(counts), strict=True):
            self.losses[place], self.exact[place] = float(loss.sum()), bool(hit.all())


def token_losses(
    model: Any,
    examples: Sequence[Encoded],
    device: torch.device,
    allowance: Allowance | None = None,
    on_examples: Callable[[int, int], None] | None = None,
) -> Scores:
    """Return the scores of `examples`; `on_examples` is called with examples done, and all.

    Where memory runs out, batches are halved, which `allowance` counts.
    """
    scores = Scores.of(len(examples))
    _score(scores, model, examples, device, allowance, on_examples)
    return scores


def losses_until(
    decided: Callable[[float, int], bool],
    model: Any,
    examples: Sequence[Encoded],
    device: torch.device,
    allowance: Allowance | None = None,
) -> tuple[float, int]:
    """Return the sum of losses (nats) and the number of wrong answers among `examples`.

    After every batch `decided` is asked with the two numbers so far; where it says yes, they are returned as they are.
    """
    scores, seen = Scores.of(len(examples)), 0

    def look(done: int, _total: int) -> None:
        nonlocal seen
        seen = done
        if decided(sum(scores.losses), seen - sum(scores.exact)):
            raise _Decided

    with suppress(_Decided):
        _score(scores, model, examples, device, allowance, look)
    return sum(scores.losses), seen - sum(scores.exact)


class _Decided(Exception):
    """The rest of the examples would change nothing."""


@torch.no_grad()
def _score(
    scores: Scores,
    model: Any,
    examples: Sequence[Encoded],
    device: torch.device,
    allowance: Allowance | None,
    on_examples: Callable[[int, int], None] | None,
) -> None:
    def feed(places: list[int], batch: list[Encoded], given: dict[str, Any]) -> None:
        scores.add(places, batch, model, device, given)

    most = most_targets(vocabulary_of(model))
    feed_in_batches(model, examples, TOKEN_BUDGET[device.type], feed, allowance, most, on_examples)


def step_groups(
    model: Any, examples: Sequence[Encoded], device: torch.device, allowance: Allowance | None = None
) -> list[list[int]]:
    """Return the groups of indices in which `model` is fed the `examples` of one step."""
    sizes = [len(example.tokens) for example in examples]
    weights = sum(parameter.numel() for parameter in model.parameters())
    allowed = (allowance or Allowance()).tokens
    tokens, most = allowed(token_budget(device.type, weights)), allowed(most_targets(vocabulary_of(model)))
    return micro_batches(sizes, device.type, weights, tokens, border_of(model, max(sizes)), targets_of(examples), most)


def _upcast(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _attention(ids: torch.Tensor, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Return what a pass forward and backward runs in: plain attention where that is the faster.

    PyTorch's fused one takes twice as long in bfloat16 on a CPU, backward; plain attention is computed in float32.
    """
    plain = ids.device.type == "cpu" and dtype == torch.bfloat16 and ids.shape[1] <= SHORT
    return sdpa_kernel(SDPBackend.MATH) if plain else unplanned_attention()


@contextmanager
def _only_rows(head: Any, rows: torch.Tensor) -> Iterator[None]:
    def keep(_module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].flatten(0, 1).index_select(0, rows.to(inputs[0].device)).unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()
