"""Takes the last prompt token's hidden state after every block: no head, no cache, no generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from mossa.errors import ModelError
from mossa.models.adapter_config import acts_in_modules
from mossa.models.batches import Allowance, border_of, by_length, for_each_batch, pad_right
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.placement import device_of
from mossa.representations.prefix import common_prefix, prefix_cache

TOKEN_BUDGET = {"cpu": 1024, "cuda": 32768}  # padded tokens in one batch; more would leave a core's cache
# How far a prompt's states may be from those of the prompt alone, as a share of their norm: far more than by rounding
ROUNDING = {torch.float32: 1e-2, torch.float64: 1e-6}
COARSE = 0.5  # ... in number formats of 16 bits or fewer, where an expert or an outlier may be chosen otherwise

LastLayer = Literal["normed", "raw"]


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
    memory does not grow with layers x tokens. A long beginning that all prompts share goes through the model once;
    prompts beyond the model's `border_of` share no beginning, and a batch with their equals alone. A model with an
    adapter of a kind that we do not know is run whole, one prompt at a time. Where memory runs out, batches are halved,
    which `allowance` counts. Raises `ModelError` for an architecture whose blocks give something else than one state
    per token.
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

    `found`: `[n, L, d]` of `represent_tokens`. It is the prompt that was padded most, or shared a beginning. Seen are
    models that are a function of the whole batch in a way that no setting tells, and adapters that do more than change
    modules, so that the decoder alone is not the model.
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
    """Hooks that keep, of what every block and the decoder give, one row per sequence; they go when the block ends."""

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
