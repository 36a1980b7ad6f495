"""How well a model does a task: held-out loss and teacher-forced exact match."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mossa.models.batches import Allowance
from mossa.models.prompts import Encoded
from mossa.training.loss import Scores, count_targets, token_losses


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss in nats per target token, the share of examples whose every target token is the argmax, and the counts.

    Where `loss` is None, `reason` says why.
    """

    loss: float | None
    accuracy: float | None
    n: int
    target_tokens: int
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def evaluate(
    model: Any,
    examples: Sequence[Encoded],
    device: torch.device,
    allowance: Allowance | None = None,
    on_examples: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return how well `model` gives the targets of `examples`; `on_examples` is called with examples done, and all.

    Without examples, or where a loss is not finite, the loss is None and the reason is given.
    """
    return judged(examples, token_losses(model, examples, device, allowance, on_examples))


def judged(examples: Sequence[Encoded], scores: Scores) -> Evaluation:
    """Return what the scores of `examples` say of the model that they are of."""
    if not examples:
        return Evaluation(None, None, 0, 0, "no example fits the model")
    n, tokens, accuracy = len(examples), count_targets(examples), sum(scores.exact) / len(examples)
    lost = sum(not math.isfinite(loss) for loss in scores.losses)
    if lost:
        return Evaluation(None, accuracy, n, tokens, f"the loss of {lost} of {n} is not finite")
    return Evaluation(sum(scores.losses) / tokens, accuracy, n, tokens)
