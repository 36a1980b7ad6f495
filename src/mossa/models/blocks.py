"""Where a causal language model keeps its transformer blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from mossa.errors import ModelError


def decoder_of(model: Any) -> nn.Module:
    """Return the decoder of a causal language model: everything but the head, as Hugging Face names it."""
    return model.get_decoder()


def blocks_of(model: Any) -> nn.ModuleList:
    """Return the L transformer blocks, in order.

    They are the one list of L modules directly inside the decoder. Raises `ModelError` if there is not exactly one.
    """
    decoder = decoder_of(model)
    layers = model.config.get_text_config().num_hidden_layers
    found = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == layers]
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__}: {len(found)} lists of {layers} blocks in {type(decoder).__name__}, not one. "
            "This architecture keeps its layers in a way mossa does not know; please report it."
        )
    return found[0]
