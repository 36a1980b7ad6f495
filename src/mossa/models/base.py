"""Loads a causal language model and its tokenizer: safetensors only, no foreign code unless asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from mossa.errors import ModelError
from mossa.study.schema import Base

WITHOUT_LIMIT = 2048  # tokens; for models whose positions have no end (ALiBi) and tokenizers that state none


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base in memory, in evaluation mode and frozen: L layers of width d, and the longest input it can take."""

    model: Any
    tokenizer: Any
    layers: int
    width: int
    longest: int

    @property
    def device(self) -> torch.device:
        """Return where the inputs go."""
        return self.model.get_input_embeddings().weight.device


def load_base(settings: Base, device: str = "cpu") -> LoadedBase:
    """Return the base in `settings` on `device`.

    Every dropout of the base is set to zero: the only noise in training is what the recipe asks for, and micro-batches
    of any shape give the same gradient. Raises `ModelError` if it is not there, is not a causal language model, has
    no safetensors or a tokenizer that cannot be used.
    """
    config = load_config(settings)
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for name, value in list(vars(part).items()):
            if isinstance(value, float) and "drop" in name:
                setattr(part, name, 0.0)
    tokenizer = load_tokenizer(settings)
    with _sentences(settings), _quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            settings.model,
            config=config,
            revision=settings.revision,
            dtype=getattr(torch, settings.dtype),
            use_safetensors=True,
            trust_remote_code=settings.trust_remote_code,
        )
    model = model.to(device).eval().requires_grad_(False)
    text = config.get_text_config()
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise ModelError(
            f"{settings.model}: the tokenizer has {len(tokenizer)} tokens, but the model embeds only "
            f"{model.get_input_embeddings().weight.shape[0]}. They do not belong together."
        )
    return LoadedBase(model, tokenizer, text.num_hidden_layers, text.hidden_size, longest_input(config, tokenizer))


def load_config(settings: Base) -> Any:
    """Return the configuration of the base; raises `ModelError` if there is none or it is no causal language model."""
    with _sentences(settings), _quiet():
        config = AutoConfig.from_pretrained(
            settings.model, revision=settings.revision, trust_remote_code=settings.trust_remote_code
        )
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    architectures: list[str] = getattr(config, "architectures", None) or []
    other_head = architectures and not any(name.endswith(("CausalLM", "LMHeadModel")) for name in architectures)
    if (not known or other_head) and not (remote and settings.trust_remote_code):
        hint = " Its own code says how: set base.trust_remote_code: true if you trust it." if remote else ""
        raise ModelError(
            f"base.model: {settings.model} is a {config.model_type!r} model ({', '.join(architectures) or 'no head'}), "
            f"not a causal language model that transformers knows.{hint}"
        )
    return config


def load_tokenizer(settings: Base) -> Any:
    """Return the tokenizer of the base; raises `ModelError` if it is missing or has no end-of-sequence token."""
    with _sentences(settings), _quiet():
        tokenizer = AutoTokenizer.from_pretrained(
            settings.model, revision=settings.revision, trust_remote_code=settings.trust_remote_code
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"{settings.model}: the tokenizer has no end-of-sequence token, so a target would have no end. "
            'Add "eos_token" to its tokenizer_config.json.'
        )
    return tokenizer


def longest_input(config: Any, tokenizer: Any) -> int:
    """Return how many tokens fit the model: its positions, else what the tokenizer states, else 2,048."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    stated = tokenizer.model_max_length if tokenizer.model_max_length < 10_000_000 else None
    return int(positions or stated or WITHOUT_LIMIT)


@contextlib.contextmanager
def _sentences(settings: Base) -> Iterator[None]:
    """Turn what the libraries raise while loading into a sentence."""
    where = f"base.model: {settings.model}"
    if settings.revision:
        where += f" at revision {settings.revision}"
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        offline = (
            " HF_HUB_OFFLINE is set, so only what is cached can be read." if os.environ.get("HF_HUB_OFFLINE") else ""
        )
        raise ModelError(f"{where} cannot be loaded: {first}{offline}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
