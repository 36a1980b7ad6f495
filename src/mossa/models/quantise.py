"""Bases whose frozen weights are held in 4 or 8 bits by bitsandbytes."""

from __future__ import annotations

import importlib.util
from typing import Any

from mossa.errors import ModelError
from mossa.study.schema import Base


def check_quantiser(settings: Base) -> None:
    """Raise `ModelError` if the base is to be quantised and bitsandbytes is not installed; imports no torch."""
    if settings.quantise and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"base.quantise: {settings.quantise} needs bitsandbytes. Install it with: pip install 'mossa[quantise]'"
        )


def quantisation(settings: Base, config: Any) -> dict[str, Any]:
    """Return what `from_pretrained` is told: nothing, QLoRA's 4 bits (NF4, scales quantised too) or LLM.int8().

    Raises `ModelError` if bitsandbytes is not installed, or if the weights are quantised already.
    """
    if settings.quantise is None:
        return {}
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"base.quantise: {settings.quantise}, but the weights of {settings.model} are quantised already. Leave "
            "base.quantise out to use them as they are."
        )
    check_quantiser(settings)
    import torch
    from transformers import BitsAndBytesConfig

    if settings.quantise == "8-bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    computed = getattr(torch, settings.dtype)
    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computed,
    )
    return {"quantization_config": four}


def steady(model: Any) -> Any:
    """Return the model so that what runs on it leaves its weights as they are.

    On some processors bitsandbytes repacks 4-bit weights, with loss, the first time they run without a gradient; what a
    unit gives would then depend on the units before it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model
