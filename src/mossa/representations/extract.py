"""Takes the last prompt token's hidden state after every block: no head, no generation, a common prefix only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from mossa.errors import ModelError
from mossa.models.adapter_config import acts_in_modules
from mossa.models.batches import Allowance, border_of, by_length, for_each_batch, pad_right
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.placement import device_of

TOKEN_BUDGET = {"cpu": 1024, "cuda": 32768}  # padded tokens in one batch; more would leave a core's cache
# How far a prompt's states may be from those of the prompt alone, as a share of their norm: far more than by rounding
ROUNDING = {torch.float32: 1e-2, torch.float64: 1e-6}
COARSE = 0.5  # ... in number formats of 16 bits or fewer, where an expert or an outlier may be chosen otherwise

LastLayer = Literal["normed", "raw"]

WORTH = 32  # tokens; a shorter prefix saves less than attention with a mask costs
NO_CACHE = (ValueError, TypeError, AttributeError)  # what models raise for a cache that is not their own kind


@torch.no_grad()
def represent_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    last_layer: LastLayer = "normed",
    token_budget: int | None = None,
    on_prompts: Callable[[int, int], None] | None = None,
    allowance: Allowance | None = None,
) -> torch.Tensor:
    """Return `[n, L, d]` float32 on the CPU: layer l is `hidden_states[l]` of Hugging Face, l = 1..L.

    Layer L is after the final norm (`normed`) or the last block's own output (`raw`). Prompts are grouped by length and
    right-padded without a mask, which is exact in a causal model; a hook on each block keeps one row per prompt, so
    memory does not grow with layers x tokens. A long prefix that all prompts share goes through the model once; prompts
    beyond the model's `border_of` share no prefix, and batches only with each other. A model with an adapter of a kind
    that we do not know is run whole, one prompt at a time. Where memory runs out, batches are halved, which `allowance`
    counts. Raises `ModelError` for an architecture whose blocks give something else than one state per token.
    """
    device, decoder = device_of(model), decoder_of(model)
    border = border_of(model, max(map(len, prompts), default=0))
    budget = token_budget or TOKEN_BUDGET[device.type]
    whole = not acts_in_modules(model)
    if whole:
        border, budget = 0, 1
    representations = torch.empty(len(prompts), len(blocks_of(model)), _width(model))
    done = 0

    def represent_part(places: list[int]) -> None:
        part = [prompts[place] for place in places]
        shared = common_prefix(part) if part and max(map(len, part)) <= border else 0
        cache = prefix_cache(decoder, part[0][:shared], device) if shared else None
        given = {"past_key_values": cache, "use_cache": True} if cache else {"use_cache": False}
        own = [tokens[shared if cache else 0 :] for tokens in part]

        def represent(group: list[int]) -> None:
            nonlocal done
            rows = taps.take(model if whole else decoder, [own[index] for index in group], **given)
            representations[[places[index] for index in group]] = rows
            done += len(group)
            if on_prompts:
                on_prompts(done, len(prompts))

        with _Taps(model, last_layer) as taps:
            for_each_batch(list(map(len, own)), budget, allowance or Allowance(), represent, border)

    represent_part([place for place, tokens in enumerate(prompts) if len(tokens) <= border])
    represent_part([place for place, tokens in enumerate(prompts) if len(tokens) > border])
    return representations


@torch.no_grad()
def check_alone(
    model: Any, prompts: Sequence[Sequence[int]], found: torch.Tensor, last_layer: LastLayer = "normed"
) -> None:
    """Raise `ModelError` unless one prompt, fed alone to the whole model, gives the row that was `found` for it.

    `found`: `[n, L, d]` of `represent_tokens`. The prompt is the one that was padded most, or shared a prefix. This
    detects models whose output depends on the whole batch although no setting says so, and adapters that do more than
    change modules, so that the decoder alone is not the model.
    """
    if not prompts:
        return
    lengths = list(map(len, prompts))
    groups = by_length(lengths, TOKEN_BUDGET[device_of(model).type], border_of(model, max(lengths)))
    padded = {index: lengths[group[0]] - lengths[index] for group in groups for index in group}
    place = max(range(len(prompts)), key=lambda index: padded[index])
    with _Taps(model, last_layer) as taps:
        alone = taps.take(model, [prompts[place]], use_cache=False)[0]
    far = float(((found[place] - alone).norm(dim=-1) / alone.norm(dim=-1)).max())
    if far > tolerance(model):
        raise ModelError(
            f"{type(model).__name__}: a prompt of {lengths[place]} tokens gives other states among {len(prompts)} than "
            f"alone (by {far:.0%}), so something in it depends on its batch, or on more than the decoder. It cannot be "
            "represented exactly. Lower prompt.cutoff, or merge the adapter if it has one."
        )


def tolerance(model: Any) -> float:
    """Return how far a prompt's states may be from those of the prompt alone, as a share of their norm."""
    return ROUNDING.get(model.dtype, COARSE)


class _Taps:
    """Hooks that keep one row per sequence from the output of every block and of the decoder; removed on exit."""

    def __init__(self, model: Any, last_layer: LastLayer) -> None:
        self.model, self.normed = model, last_layer == "normed"

    def __enter__(self) -> _Taps:
        blocks = blocks_of(self.model)
        self.hooks = [block.register_forward_hook(self._keep) for block in blocks]
        if head := self.model.get_output_embeddings():  # of the whole model, which needs no logits here
            self.hooks.append(head.register_forward_pre_hook(lambda _head, given: (given[0][:, -1:], *given[1:])))
        if self.normed:
            self.hooks.append(decoder_of(self.model).register_forward_hook(self._keep_final))
        return self

    def __exit__(self, *_error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def take(self, run: Any, sequences: Sequence[Sequence[int]], **given: Any) -> torch.Tensor:
        """Return `[b, L, d]` float32 on the CPU: the last token of each sequence after each block that `run` runs."""
        device = device_of(self.model)
        self.kept: list[torch.Tensor] = []
        self.last = torch.tensor([len(tokens) - 1 for tokens in sequences], device=device)
        run(input_ids=pad_right(sequences, device), **given)
        return torch.stack([rows.to("cpu", torch.float32) for rows in self.kept], dim=1)

    def _keep(self, block: Any, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple | list) else output
        width = _width(self.model)
        if not isinstance(hidden, torch.Tensor) or hidden.dim() != 3 or hidden.shape[-1] != width:
            shape = list(hidden.shape) if isinstance(hidden, torch.Tensor) else type(hidden).__name__
            raise ModelError(
                f"{type(self.model).__name__}: a {type(block).__name__} gives {shape}, not one state of width {width} "
                "per token, so its layers cannot be compared."
            )
        self.kept.append(self._rows(hidden))

    def _keep_final(self, _decoder: Any, _inputs: Any, output: Any) -> None:
        final, width = output.last_hidden_state, _width(self.model)
        if final.shape[-1] != width:
            raise ModelError(
                f"{type(self.model).__name__} projects its last layer from {width} to {final.shape[-1]} dimensions. "
                "Set representations.last_layer: raw."
            )
        self.kept[-1] = self._rows(final)

    def _rows(self, hidden: torch.Tensor) -> torch.Tensor:
        last = self.last.to(hidden.device)
        return hidden[torch.arange(len(last), device=hidden.device), last]


def _width(model: Any) -> int:
    return model.config.get_text_config().hidden_size


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
    """Return the length of the prefix that all prompts share, shorter than each of them; 0 if it is not worth it."""
    if len(prompts) < 2:
        return 0
    first, last = (
        min(map(list, prompts)),
        max(map(list, prompts)),
    )  # in lexical order: all share what these two do
    longest = min(map(len, prompts)) - 1
    same = next((place for place in range(longest) if first[place] != last[place]), longest)
    return same if same >= WORTH else 0


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
