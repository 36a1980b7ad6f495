"""The prefix that all prompts have in common: its keys and values are computed once, and every prompt sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

WORTH = 32  # tokens; below, what is saved does not pay for attention with a mask
NO_CACHE = (ValueError, TypeError, AttributeError)  # what models say to one not theirs


class _PrefixLayer(DynamicLayer):
    """Keys and values `[1, heads, tokens, d / heads]` of the prefix, for batches of any size; never changed."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of the prefix and, after them, those of a batch."""
        size = (key_states.shape[0], -1, -1, -1)
        keys: Any = self.keys
        values: Any = self.values
        return (
            torch.cat([keys.expand(size), key_states], dim=-2),
            torch.cat([values.expand(size), value_states], dim=-2),
        )


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, leaving each one of its own; 0 if too few to be worth it."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))  # in lexical order: what these two share, all share
    longest = min(map(len, prompts)) - 1
    same = next((place for place in range(longest) if first[place] != last[place]), longest)
    return same if same >= WORTH else 0


def prefix_cache(decoder: Any, tokens: Sequence[int], device: torch.device) -> Cache | None:
    """Return the cache that follows `tokens`, to be used for any number of batches.

    None for architectures that keep something else than all keys and values of all tokens, such as a sliding window,
    or that take no cache but their own.
    """
    cache = DynamicCache(config=decoder.config)
    try:
        decoder(input_ids=torch.tensor([list(tokens)], device=device), past_key_values=cache, use_cache=True)
    except NO_CACHE:
        return None
    layers: list[Any] = cache.layers
    if not layers or any(type(layer) is not DynamicLayer or layer.get_seq_length() != len(tokens) for layer in layers):
        return None
    copied: list[Any] = []
    for layer in layers:
        copied.append(_PrefixLayer())
        copied[-1].lazy_initialization(layer.keys, layer.values)
        copied[-1].keys, copied[-1].values = layer.keys, layer.values
    return Cache(layers=copied)
