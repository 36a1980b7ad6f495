"""Feeds examples to a model in batches; what all of their prompts begin with goes through it once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from mossa.models.adapter_config import acts_in_modules
from mossa.models.batches import Allowance, border_of, for_each_batch
from mossa.models.blocks import decoder_of
from mossa.models.placement import device_of
from mossa.models.prompts import Encoded, targets_of

WORTH = 32  # tokens; a shorter prefix saves less than attention with a mask costs
NO_CACHE = (ValueError, TypeError, AttributeError)  # what models raise for a cache that is not their own kind
WITHOUT_CACHE = {"use_cache": False}

Feed = Callable[[list[int], list[Encoded], dict[str, Any]], None]


def feed_in_batches(
    model: Any,
    examples: Sequence[Encoded],
    token_budget: int,
    feed: Feed,
    allowance: Allowance | None = None,
    most: int = sys.maxsize,
    on_examples: Callable[[int, int], None] | None = None,
) -> None:
    """Call `feed(places, batch, given)` for groups of `examples` until all are done; `places` are those of the group.

    `batch` is the group without the prefix that all prompts share, and `given` is what the model takes besides tokens,
    among it the keys and values of that prefix. Groups have at most `token_budget` padded tokens and `most` targets.
    Examples beyond the model's `border_of` share no prefix, and groups only with their equals. Where memory runs out,
    groups are halved, which `allowance` counts. `on_examples` is called with examples done, and all.
    """
    done = 0
    border = border_of(model, max((len(example.tokens) for example in examples), default=0))

    def feed_part(part: list[int]) -> None:
        prompts = [examples[place].tokens[: examples[place].prompt_length] for place in part]
        longest = max((len(examples[place].tokens) for place in part), default=0)
        shared = common_prefix(prompts) if acts_in_modules(model) and longest <= border else 0
        cache = prefix_cache(decoder_of(model), prompts[0][:shared], device_of(model)) if shared else None
        given = {"past_key_values": cache, "use_cache": True} if cache else WITHOUT_CACHE
        own = [without(examples[place], shared if cache else 0) for place in part]

        def feed_group(group: list[int]) -> None:
            nonlocal done
            feed([part[place] for place in group], [own[place] for place in group], given)
            done += len(group)
            if on_examples:
                on_examples(done, len(examples))

        sizes = [len(example.tokens) for example in own]
        for_each_batch(sizes, token_budget, allowance or Allowance(), feed_group, border, targets_of(own), most)

    feed_part([place for place, example in enumerate(examples) if len(example.tokens) <= border])
    feed_part([place for place, example in enumerate(examples) if len(example.tokens) > border])


def without(example: Encoded, prefix: int) -> Encoded:
    """Return an example without its first `prefix` tokens, all of its prompt."""
    left = example.tokens[prefix:]
    return Encoded(left, example.prompt_length - prefix, example.shortened, example.index)


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return the length of the prefix that all prompts share, shorter than each of them; 0 if it is not worth it."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))  # in lexical order: all share what these two do
    longest = min(map(len, prompts)) - 1
    same = next((place for place in range(longest) if first[place] != last[place]), longest)
    return same if same >= WORTH else 0


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


@torch.no_grad()
def prefix_cache(decoder: Any, tokens: Sequence[int], device: torch.device) -> Cache | None:
    """Return the cache that follows `tokens`, to be used for any number of batches.

    None for architectures that do not keep all keys and values of all tokens (a sliding window), or that accept only
    their own kind of cache.
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
