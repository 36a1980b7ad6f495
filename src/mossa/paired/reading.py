"""One pass over the examples of a task: what both models answer, and their states at the last prompt token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from mossa.models.prompts import Encoded
from mossa.place.change import Seen, Traces, last_of, see
from mossa.place.stack import Side, Stack

SIDES: dict[Side, str] = {"base": "before", "tuned": "after"}


@dataclass(frozen=True)
class Reading:
    """What base and tuned model make of n examples.

    `answers`: one row per example with `example` (its place), `tokens` of its target, and of both models `loss_before`,
    `loss_after` (nats, summed over the target) and `exact_before`, `exact_after` (every target token is the argmax).
    `seen`: states between the blocks, and of the base's blocks on the tuned model's input. `normed`: by model the
    states after the final norm, `[n, d]`.
    """

    answers: pd.DataFrame
    seen: Seen
    normed: dict[Side, torch.Tensor]

    def states(self, side: Side) -> torch.Tensor:
        """Return `[n, L, d]`, as `represent_tokens` does: layer L is after the final norm."""
        return torch.cat([self.seen.own[side][:, 1:-1], self.normed[side].unsqueeze(1)], dim=1)


@torch.no_grad()
def read(stack: Stack, examples: Sequence[Encoded]) -> Reading:
    """Run both models over prompts and targets once, and keep what all readings need."""
    n = len(examples)
    columns: dict[str, Any] = {
        "example": [each.index for each in examples],
        "tokens": np.array([len(each.tokens) - each.prompt_length for each in examples]),
    }
    for said in SIDES.values():
        columns |= {f"loss_{said}": np.zeros(n), f"exact_{said}": np.zeros(n, dtype=bool)}
    normed: dict[Side, torch.Tensor] = {}

    def score(group: list[int], traces: Traces) -> None:
        batch = [examples[index] for index in group]
        counts = [int(columns["tokens"][index]) for index in group]
        rows = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(counts))
        places = torch.tensor([p - 1 for e in batch for p in range(e.prompt_length, len(e.tokens))])
        labels = torch.tensor([token for e in batch for token in e.tokens[e.prompt_length :]])
        last = torch.tensor([each.prompt_length - 1 for each in batch])
        for side, trace in traces.items():
            at = trace.states[-1][rows.to(trace.final.device), places.to(trace.final.device)]
            losses, right = stack.score(side, at, labels)
            columns[f"loss_{SIDES[side]}"][group] = [float(part.sum()) for part in losses.split(counts)]
            columns[f"exact_{SIDES[side]}"][group] = [bool(part.all()) for part in right.split(counts)]
            final = last_of(trace.final, last)
            normed.setdefault(side, torch.zeros(n, final.shape[1]))[group] = final

    sequences, lengths = [each.tokens for each in examples], [each.prompt_length for each in examples]
    seen = see(stack, sequences, inputs=("tuned",), lengths=lengths, on_batch=score)
    return Reading(pd.DataFrame(columns), seen, normed)
