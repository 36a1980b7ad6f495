"""Where a causal language model keeps its transformer blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from mossa.errors import ModelError


def decoder_of(model: Any) -> nn.Module:
    """Return the decoder of a causal language model: everything but the head, as Hugging Face names it.

    Of a model that also reads images or sound it is the part that reads text. Raises `ModelError` for a model whose
    decoder reads what an encoder has made of the prompt.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{type(model).__name__} is an encoder-decoder: its decoder never reads the prompt itself, so no layer of "
            "it stands for the last prompt token. Give a causal language model."
        )
    decoder = model.get_decoder()
    if len(_lists(model, decoder)) != 1:  # what transformers calls so is the whole model, or a part of its head
        embeddings = model.get_input_embeddings()
        parts = (part for part in model.modules() if len(_lists(model, part)) == 1)
        decoder = next((part for part in parts if any(each is embeddings for each in part.modules())), decoder)
    return decoder


def is_part_of(model: Any) -> bool:
    """Tell whether the decoder is only a part of the model, beside encoders of images or sound."""
    return model.config.get_text_config() is not model.config


def blocks_of(model: Any) -> nn.ModuleList:
    """Return the L transformer blocks, in order.

    They are the one list of L modules directly inside the decoder. Raises `ModelError` if there is not exactly one.
    """
    decoder = decoder_of(model)
    found = _lists(model, decoder)
    if len(found) != 1:
        layers = model.config.get_text_config().num_hidden_layers
        raise ModelError(
            f"{type(model).__name__}: {len(found)} lists of {layers} blocks in {type(decoder).__name__}, not one. "
            "This architecture keeps its layers in a way mossa does not know; please report it."
        )
    return found[0]


def _lists(model: Any, part: nn.Module) -> list[nn.ModuleList]:
    """Return the lists of L modules directly inside a part of the model."""
    layers = model.config.get_text_config().num_hidden_layers
    return [child for child in part.children() if isinstance(child, nn.ModuleList) and len(child) == layers]
