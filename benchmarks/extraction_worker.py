"""One sample of one way to take representations: prints seconds, memory, the share of the matmul rate, and values."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from material import encode, forward_operations, llama, matmul_rate, texts
from mossa.models.prompts import Encoded
from mossa.representations import represent_tokens

BATCH = 32  # prompts at once, for those who count prompts; the default of sentence-transformers


def authors(model: Any, examples: list[Encoded]) -> torch.Tensor:
    """One prompt at a time: a full forward, a generation as long as the target, one file per example and layer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, example in enumerate(examples):
            ids = torch.tensor([example.tokens[: example.prompt_length]])
            states = model(input_ids=ids, output_hidden_states=True).hidden_states[1:]
            wanted = len(example.tokens) - example.prompt_length
            model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=wanted, min_new_tokens=wanted, do_sample=False
            )
            for layer, state in enumerate(states, 1):
                np.save(Path(folder) / f"{number}-{layer}.npy", state[0, -1].float().numpy())
            rows.append(torch.stack([state[0, -1] for state in states]))
    return torch.stack(rows)


def padded(model: Any, examples: list[Encoded], order: list[int] | None = None) -> torch.Tensor:
    """Padded batches in the order of the data, all hidden states of all positions."""
    order = order or list(range(len(examples)))
    found: list[torch.Tensor] = [torch.empty(0)] * len(examples)
    for start in range(0, len(order), BATCH):
        group = order[start : start + BATCH]
        prompts = [torch.tensor(examples[index].tokens[: examples[index].prompt_length]) for index in group]
        ids = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
        rows = torch.stack([state[torch.arange(len(group)), lengths - 1] for state in states[1:]], dim=1)
        for place, index in enumerate(group):
            found[index] = rows[place]
    return torch.stack(found)


def ordered(model: Any, examples: list[Encoded]) -> torch.Tensor:
    """The same after sorting by length, as sentence-transformers does."""
    return padded(model, examples, sorted(range(len(examples)), key=lambda index: -examples[index].prompt_length))


def ours(model: Any, examples: list[Encoded]) -> torch.Tensor:
    """As mossa does."""
    return represent_tokens(model, [example.tokens[: example.prompt_length] for example in examples])


CONTENDERS = {function.__name__: function for function in (ours, authors, padded, ordered)}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    for name in ("width", "layers", "vocabulary", "longest", "template", "prompts"):
        parser.add_argument(name, type=int)
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    size = arguments.width, arguments.layers, arguments.vocabulary, arguments.longest + arguments.template
    model = llama(*size, dtype=arguments.dtype)
    pairs = texts(arguments.tasks, arguments.prompts)
    examples = encode(pairs, arguments.vocabulary, arguments.longest, arguments.template)
    run = CONTENDERS[arguments.contender]
    rate = matmul_rate(arguments.dtype)
    run(model, sorted(examples, key=lambda example: len(example.tokens))[:2])  # first calls
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    found = run(model, examples)
    busy, seconds = time.process_time() - busy, time.perf_counter() - start
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - found.numel() * 4
    lengths = [example.prompt_length for example in examples]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "processor_seconds": busy,
                "extra_megabytes": extra / 1e6,
                "of_matmul_rate": forward_operations(model, lengths, arguments.template) / busy / rate,
                "gigaflops": rate / 1e9,
                "tokens": sum(lengths),
                "values": found[:: max(1, len(found) // 8), :, :8].float().flatten().tolist(),
            }
        )
    )


if __name__ == "__main__":
    main()
