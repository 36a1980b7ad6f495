"""Loads a causal language model and its tokenizer: safetensors only, no foreign code unless asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)

from mossa.errors import ModelError
from mossa.models.converted import readable
from mossa.models.files import tensor_names, weight_files
from mossa.models.hub import check_place, quiet, sentences, stored
from mossa.models.load_report import check_report, excused, note, overheard
from mossa.models.placement import device_of, placement, settle
from mossa.models.quantise import quantisation, steady
from mossa.study.schema import Base

WITHOUT_ADAPTER = {"subfolder": ".no-adapter"}  # where transformers looks for one, beside the weights otherwise
WITHOUT_LIMIT = 2048  # tokens; for models whose positions have no end (ALiBi) and tokenizers that state none


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base in memory, in evaluation mode and frozen: L layers of width d, the longest input it takes, its size."""

    model: Any
    tokenizer: Any
    layers: int
    width: int
    longest: int
    parameters: int = 0

    @property
    def device(self) -> torch.device:
        """Return where the inputs go."""
        return device_of(self.model)

    @property
    def gpus(self) -> list[torch.device]:
        """Return the GPU whose random generator a training draws from, if there is one."""
        return [self.device] if self.device.type == "cuda" else []


def load_base(settings: Base, device: str = "cpu") -> LoadedBase:
    """Return the base in `settings` on `device`: `cpu`, `cuda:0`, or several places as `places_of` reads them.

    Raises `ModelError` if it is not there, is not a causal language model, has no safetensors or a tokenizer that
    cannot be used.
    """
    config = load_config(settings)
    tokenizer = load_tokenizer(settings)
    check_vocabulary(config, tokenizer, settings.model)
    model = load_model(settings, config, device)
    text = config.get_text_config()
    longest = longest_input(config, tokenizer)
    return LoadedBase(model, tokenizer, text.num_hidden_layers, text.hidden_size, longest, int(model.num_parameters()))


def load_model(settings: Base, config: Any, device: str, what: str = "base.model") -> Any:
    """Return the frozen model in `settings` on `device` (or on several, see `placement`), in evaluation mode.

    Every dropout is set to zero: the only noise in training is what the recipe asks for, and micro-batches of any
    shape give the same gradient. Raises `ModelError`, beginning with `what`, if its weights cannot be loaded.
    """
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for name, value in list(vars(part).items()):
            if isinstance(value, float) and "drop" in name:
                setattr(part, name, 0.0)
    given, where, settings = settings.model, _where(settings, what), readable(settings, weights=True)
    if Path(settings.model).is_dir():
        weight_files(Path(settings.model))
    quantised = quantisation(settings, config)
    with placement(device) as placed, sentences(where):
        with quiet(), overheard(where):
            model, report = auto_class(config).from_pretrained(
                settings.model,
                config=config,
                revision=settings.revision,
                dtype=getattr(torch, settings.dtype),
                use_safetensors=True,
                trust_remote_code=settings.trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in the report, and refused with their names
                adapter_kwargs=WITHOUT_ADAPTER,
                **quantised,
                **placed,
            )
        report["missing_keys"] |= excused(model) - _held(settings, where) if excused(model) else set()
        check_report(report, model, where)
    _say_adapter(settings, where)
    if given != settings.model:  # a GGUF: adapters name the file they were made for, not this machine's cache
        model.name_or_path = model.config.name_or_path = given
    return steady(settle(model, device, placed)).eval().requires_grad_(False)


def _held(settings: Base, where: str) -> set[str]:
    """Return the names of the tensors that a model's files hold."""
    folder = Path(settings.model)
    if not folder.is_dir():
        found = stored(settings.model, "config.json", settings.revision, where)
        folder = found.parent if found else folder
    return tensor_names(weight_files(folder))


def _say_adapter(settings: Base, where: str) -> None:
    """Note an adapter that lies beside the model's own weights, which transformers would have put on it."""
    if stored(settings.model, "adapter_config.json", settings.revision, where):
        note(
            f"{where}: an adapter lies beside the model (adapter_config.json) and is left out; the model's own weights "
            "are used. To study the adapter, name it under experimental as {adapter: …}."
        )


def without_storage(settings: Base, dtype: torch.dtype | None = None) -> Any:
    """Return the model that the base's configuration describes: the names and shapes of its weights, and no weights.

    Raises `ModelError` if the configuration cannot be read.
    """
    config = load_config(settings)
    with sentences(_where(settings, "base.model")), quiet(), torch.device("meta"):
        trusted = settings.trust_remote_code
        return auto_class(config).from_config(config, trust_remote_code=trusted, dtype=dtype).requires_grad_(False)


def load_checkpoint(source: str, base: Base, tokenizer: Any, device: str) -> Any:
    """Return the whole model in `source` (folder or hub id), to be fed what `tokenizer` gives.

    It is loaded as the base is and needs no tokenizer of its own. Raises `ModelError` if it cannot be loaded, embeds
    fewer tokens than there are, or has not as many layers as the base, so that layer l would mean two things.
    """
    settings = base.model_copy(update={"model": source, "revision": None})
    config = load_config(settings, "checkpoint")
    check_vocabulary(config, tokenizer, f"checkpoint {source}")
    found, layers = (part.get_text_config().num_hidden_layers for part in (config, load_config(base)))
    if found != layers:
        raise ModelError(f"checkpoint {source} has {found} layers, the base {layers}. Give one that was tuned from it.")
    return load_model(settings, config, device, "checkpoint")


def check_vocabulary(config: Any, tokenizer: Any, model: str) -> None:
    """Raise `ModelError` if the tokenizer has tokens that the model cannot embed."""
    size = config.get_text_config().vocab_size
    if len(tokenizer) > size:
        raise ModelError(
            f"{model}: the tokenizer has {len(tokenizer):,} tokens, but the model embeds only {size:,}. They do not "
            "belong together: put the files of the model's own tokenizer beside it."
        )


def load_config(settings: Base, what: str = "base.model") -> Any:
    """Return the model's configuration; raises `ModelError` if there is none or it is not a causal language model."""
    check_place(settings.model, what)
    stored = readable(settings)
    with sentences(_where(settings, what)), quiet():
        config = AutoConfig.from_pretrained(
            stored.model, revision=stored.revision, trust_remote_code=settings.trust_remote_code
        )
        text = config.get_text_config()
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if not _is_causal(config, text) and not (remote and settings.trust_remote_code):
        architectures = ", ".join(getattr(config, "architectures", None) or ()) or "no head"
        hint = " Its own code says how: set base.trust_remote_code: true if you trust it." if remote else ""
        raise ModelError(
            f"{what}: {settings.model} is a {config.model_type!r} model ({architectures}), not a causal language model "
            f"that transformers knows.{hint}"
        )
    if lacking := [name for name in ("num_hidden_layers", "hidden_size", "vocab_size") if not hasattr(text, name)]:
        raise ModelError(
            f"{what}: {settings.model}: its config.json does not give {', '.join(lacking)}, which mossa needs."
        )
    return config


def _is_causal(config: Any, text: Any) -> bool:
    """Ask transformers' mappings, not names: a class for it, one stack of layers, and each token sees earlier ones."""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    known = name is not None or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if any(getattr(part, "is_encoder_decoder", False) for part in (config, text)):
        return False
    if (
        getattr(text, "is_decoder", None) is False and known
    ):  # BERT and its like read both ways, unless saved as decoders
        return name in (getattr(config, "architectures", None) or [name])
    return known or (text is not config and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)


def auto_class(config: Any) -> Any:
    """Return the class that builds the model: transformers' for causal ones, else for those that read images too."""
    own = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if own or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    return AutoModelForImageTextToText


def load_tokenizer(settings: Base, what: str = "base.model") -> Any:
    """Return the tokenizer of the base, or of `what`.

    Raises `ModelError` if it is missing or has no end-of-sequence token.
    """
    stored = readable(settings)
    with sentences(_where(settings, what)), quiet():
        tokenizer = AutoTokenizer.from_pretrained(
            stored.model, revision=stored.revision, trust_remote_code=settings.trust_remote_code
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"{settings.model}: the tokenizer has no end-of-sequence token, so a target would have no end. "
            'Add "eos_token" to its tokenizer_config.json.'
        )
    return tokenizer


def longest_input(config: Any, tokenizer: Any) -> int:
    """Return how many tokens fit the model: its positions, else what the tokenizer states, else 2,048."""
    positions = max(getattr(config.get_text_config(), "max_position_embeddings", None) or 0, 0)  # -1: without an end
    stated = tokenizer.model_max_length if tokenizer.model_max_length < 10_000_000 else None
    return int(positions or stated or WITHOUT_LIMIT)


def _where(settings: Base, what: str) -> str:
    return f"{what}: {settings.model}" + (f" at revision {settings.revision}" if settings.revision else "")
