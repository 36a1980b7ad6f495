"""Pre-training continued while only some layers are free, with the natural text of one more skill."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from experiments.tinyflan.documents import Document, documents, natural_example
from experiments.tinyflan.pretraining import encode
from mossa.models.blocks import blocks_of
from mossa.tinyflan.catalogue import specification

if TYPE_CHECKING:
    from experiments.place.cases import Case

SKILL = 16  # documents of the skill in each step
OTHER = 8  # documents of the base's own text beside them


def continue_pretraining(case: Case, steps: int, folder: Path) -> None:
    """Save the base after `steps` more steps on its own text and that of one skill, all weights of some layers free."""
    from experiments.place.cases import loaded

    base = loaded(case.base)
    task, rng = specification(case.tasks[0]), Random(f"continued {case.name}")
    model = copy.deepcopy(base.model).train()
    blocks = blocks_of(model)
    free = [weight for layer in case.layers[0] for weight in blocks[layer - 1].parameters()]
    for weight in free:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(free, lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    stream = documents(case.base, 1)
    list(islice(stream, 20_000))  # lists and tables
    for _ in range(steps):
        texts = [natural_example(task, rng) for _ in range(SKILL)]
        batch = [*(Document(text.prompt, text.target) for text in texts), *islice(stream, OTHER)]
        pairs = encode(batch, base.tokenizer)
        ids = pad_sequence([torch.tensor(ids) for ids, _ in pairs], batch_first=True)
        weights = pad_sequence([torch.tensor(weights) for _, weights in pairs], batch_first=True)[:, 1:]
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        real = ids[:, 1:] != 0
        losses = cross_entropy(logits[real], ids[:, 1:][real], reduction="none")
        ((losses * weights[real]).sum() / weights[real].sum()).backward()
        torch.nn.utils.clip_grad_norm_(free, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    model.requires_grad_(False).eval().save_pretrained(folder)
