"""A plain loop that trains a small Llama on the text of a base, on one core."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.tinyflan.documents import Document, documents
from experiments.tinyflan.muon import Muon
from experiments.tinyflan.tokenizer import token_ids

TEXT_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a base is trained; the shipped ones came from the defaults."""

    tokens: int = 3_000_000
    tokens_per_step: int = 1_024
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    warmup: float = 0.03
    seed: int = 0


def configuration(words: int) -> LlamaConfig:
    """Return the shape of all bases: L = 8 layers, d = 96, 4 heads, about 1 M parameters."""
    return LlamaConfig(
        vocab_size=words,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def encode(texts: list[Document], tokenizer: PreTrainedTokenizerFast) -> list[tuple[list[int], list[float]]]:
    """Return the token ids of documents, each between `<s>` and `</s>`, and the weight of each token.

    The answer is encoded apart from its text. A text is mostly drawn at random, so that its tokens weigh
    `TEXT_WEIGHT`, and those of an answer one.
    """
    heads = token_ids(tokenizer, [document.text for document in texts])
    tails = token_ids(tokenizer, [document.answer for document in texts], special=False)
    end = token_ids(tokenizer, ["</s>"], special=False)[0]
    encoded: list[tuple[list[int], list[float]]] = []
    for head, tail in zip(heads, tails, strict=True):
        ids = [*head, *tail, *end]
        encoded.append((ids, [TEXT_WEIGHT] * len(head) + [1.0 if tail else TEXT_WEIGHT] * (len(ids) - len(head))))
    return encoded


def batches(base: str, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ids and weights `[documents, tokens]` of about `tokens_per_step`, padded with 0."""
    stream = documents(base, recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        pool = sorted(encode(list(islice(stream, 4_096)), tokenizer), key=lambda document: len(document[0]))
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for document in pool:
            if len(document[0]) * (len(groups[-1]) + 1) > recipe.tokens_per_step:
                groups.append([])
            groups[-1].append(document)
        for number in torch.randperm(len(groups), generator=generator).tolist():
            ids = pad_sequence([torch.tensor(ids) for ids, _ in groups[number]], batch_first=True)
            weights = pad_sequence([torch.tensor(weights) for _, weights in groups[number]], batch_first=True)
            yield ids, weights


def pretrain(
    base: str,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe | None = None,
    report: Callable[[str], None] = print,
) -> LlamaForCausalLM:
    """Return a Llama trained on the text of `base` until it has read `tokens`; `random` is returned untrained.

    Muon for the matrices of the layers and Adam for the rest, with a linear warm-up and a cosine to zero. The loss
    is the weighted mean over all tokens of the documents, in nats.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(configuration(len(tokenizer)))
    if base == "random":
        return model.eval()
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inner = {id(p) for p in matrices}
    muon = Muon(matrices)
    adam = torch.optim.Adam([p for p in model.parameters() if id(p) not in inner], betas=(0.9, 0.98))
    model.train()
    read, next_report = 0, 0.0
    for step, (ids, weights) in enumerate(batches(base, tokenizer, recipe)):
        share = read / recipe.tokens
        if share >= 1:
            break
        rate = min(1.0, (share + 1e-4) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * share))
        adam.param_groups[0]["lr"] = recipe.adam_rate * rate
        hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
        targets = ids[:, 1:]
        real = targets != 0
        losses = cross_entropy(model.lm_head(hidden[real]), targets[real], reduction="none")
        weights = weights[:, 1:][real]
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        muon.step(recipe.muon_rate * rate)
        model.zero_grad()
        read += int(real.sum())
        if share >= next_report:
            report(f"{base}: {read:,} of {recipe.tokens:,} tokens, step {step}, loss {loss.item():.3f}")
            next_report += 0.05
    return model.eval()
