"""Takes the last prompt token's hidden state after every block: no head, no cache, no generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from mossa.errors import ModelError
from mossa.models.batches import Allowance, for_each_batch, pad_right
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.placement import device_of
from mossa.representations.beginning import common_beginning, lend

TOKEN_BUDGET = {"cpu": 1024, "cuda": 32768}  # padded tokens in one batch; more would leave a core's cache


@torch.no_grad()
def represent_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    last_layer: Literal["normed", "raw"] = "normed",
    token_budget: int | None = None,
    on_prompts: Callable[[int, int], None] | None = None,
    allowance: Allowance | None = None,
) -> torch.Tensor:
    """Return `[n, L, d]` float32 on the CPU: layer l is `hidden_states[l]` of Hugging Face, l = 1..L.

    Layer L is after the final norm (`normed`) or the last block's own output (`raw`). Prompts are grouped by length and
    right-padded without a mask, which is exact in a causal model; a hook on each block keeps one row per prompt, so
    memory does not grow with layers x tokens. A long beginning that all prompts share goes through the model once.
    Where memory runs out, batches are halved, which `allowance` counts.
    """
    decoder, blocks = decoder_of(model), blocks_of(model)
    device = device_of(model)
    shared = common_beginning(prompts)
    cache = lend(decoder, prompts[0][:shared], device) if shared else None
    shared = shared if cache else 0
    kept: list[torch.Tensor] = []
    last = torch.empty(0)

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        kept.append(_rows(hidden, last))

    hooks = [block.register_forward_hook(keep) for block in blocks]
    representations = torch.empty(len(prompts), len(blocks), model.config.get_text_config().hidden_size)
    done = 0

    def represent(group: list[int]) -> None:
        nonlocal last, done
        kept.clear()
        own = [prompts[index][shared:] for index in group]
        last = torch.tensor([len(tokens) - 1 for tokens in own], device=device)
        given = {"past_key_values": cache, "use_cache": True} if cache else {"use_cache": False}
        final = decoder(input_ids=pad_right(own, device), **given).last_hidden_state
        if last_layer == "normed":
            if final.shape[-1] != representations.shape[-1]:
                raise ModelError(
                    f"{type(model).__name__} projects its last layer from {representations.shape[-1]} to "
                    f"{final.shape[-1]} dimensions. Set representations.last_layer: raw."
                )
            kept[-1] = _rows(final, last)
        representations[group] = torch.stack([rows.to("cpu", torch.float32) for rows in kept], dim=1)
        done += len(group)
        if on_prompts:
            on_prompts(done, len(prompts))

    try:
        budget = token_budget or TOKEN_BUDGET[device.type]
        for_each_batch([len(prompt) - shared for prompt in prompts], budget, allowance or Allowance(), represent)
    finally:
        for hook in hooks:
            hook.remove()
    return representations


def _rows(hidden: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    last = last.to(hidden.device)
    return hidden[torch.arange(len(last), device=hidden.device), last]
