"""How well a model does a task: held-out loss and teacher-forced exact match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mossa.models.prompts import Encoded
from mossa.training.loss import count_targets, token_losses


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss in nats per target token, the share of examples whose every target token is the argmax, and the counts."""

    loss: float | None
    accuracy: float | None
    n: int
    target_tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def evaluate(model: Any, examples: Sequence[Encoded], device: torch.device) -> Evaluation:
    """Return how well `model` gives the targets of `examples`; without examples, loss and accuracy are None."""
    if not examples:
        return Evaluation(None, None, 0, 0)
    losses, exact = token_losses(model, examples, device)
    tokens = count_targets(examples)
    return Evaluation(sum(losses) / tokens, sum(exact) / len(exact), len(examples), tokens)
