"""LoRA adapters on a base, through PEFT: attach a new one, load one from a folder, take it off again."""

from __future__ import annotations

import contextlib
import math
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import align_module_device
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.utils import load_peft_weights
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS
from peft.utils.integrations import dequantize_module_weight
from torch import nn
from transformers.pytorch_utils import Conv1D

from mossa.errors import ModelError
from mossa.models.adapter_config import check_named_base, check_ranks, read_adapter_config
from mossa.models.adapter_tensors import own_tensors
from mossa.models.base import LoadedBase
from mossa.models.blocks import blocks_of, decoder_of, is_part_of
from mossa.models.files import weight_files
from mossa.models.fused_lora import combine
from mossa.models.hub import adapter_folder, sentences
from mossa.models.placement import lies_elsewhere, seeming_present
from mossa.study.recipe import Lora

# What PEFT raises for a configuration that does not fit the base
UNFIT = (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, re.error)


@contextlib.contextmanager
def new_adapter(base: LoadedBase, settings: Lora, seed: int) -> Iterator[PeftModel]:
    """Attach a freshly initialised adapter to the base for the length of the block; the base is left as it was.

    A is drawn from `seed`, B is zero, both in float32 whatever the base's dtype. Raises `ModelError` if the targets
    are unknown for this architecture.
    """
    with _attached(base, lora_config(base.model, settings), "of the recipe", seed) as adapted:
        if settings.layers is not None:
            _check_layers(adapted, settings.layers)
        yield adapted


@contextlib.contextmanager
def loaded_adapter(base: LoadedBase, folder: Path | str) -> Iterator[PeftModel]:
    """Attach the adapter saved in `folder` (or on the hub) for the length of the block; the base is left as it was.

    Raises `ModelError` if it is missing, damaged, or made for another base: its tensors must be exactly those that
    the configuration asks for on this base, with the same shapes. If its configuration names another, that is noted.
    """
    found = adapter_folder(str(folder))
    weight_files(found, adapter=True)  # without them, PEFT would go on to look for a pickle
    config = read_adapter_config(found, str(folder))
    with sentences(f"adapter {folder}"):
        weights = load_peft_weights(str(found), device="cpu")
    check_ranks(config, weights, str(folder))
    if getattr(config, "use_dora", False) and lies_elsewhere(base.model):
        raise ModelError(
            f"adapter {folder} uses DoRA, which reads every weight it changes, and some of the base's lie in main "
            "memory or on the disk. Name only GPUs with --device, or give it merged into its base as a checkpoint."
        )
    with _attached(base, config, str(folder)) as adapted:
        check_named_base(found, base.model, str(folder))
        set_peft_model_state_dict(adapted, own_tensors(adapted, weights, str(folder)))
        adapted.requires_grad_(False)
        yield adapted.eval()


def lora_config(model: Any, settings: Lora) -> LoraConfig:
    """Return the settings as PEFT takes them for this model, whose weights are not looked at.

    Raises `ModelError` if the targets are unknown for this architecture or a layer is not there.
    """
    chosen: dict[str, Any] = {}
    if is_part_of(model):  # names such as q_proj are also those of an encoder of images
        place = next(name for name, module in model.named_modules() if module is decoder_of(model))
        chosen["exclude_modules"] = rf"(?!{re.escape(place)}\.).*"
    if settings.layers is not None:
        blocks = blocks_of(model)
        if settings.layers[-1] > len(blocks):
            raise ModelError(
                f"recipe.lora.layers: no layer {settings.layers[-1]}. The base has the layers 1 to {len(blocks)}."
            )
        place = next(name for name, module in model.named_modules() if module is blocks)
        chosen["layers_to_transform"] = [layer - 1 for layer in settings.layers]  # PEFT counts from 0
        chosen["layers_pattern"] = place.rsplit(".", 1)[-1]
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType]: a float works and is exact
        lora_dropout=settings.dropout,
        target_modules=target_modules(model, settings),
        task_type="CAUSAL_LM",
        fan_in_fan_out=model.config.model_type == "gpt2",
        **chosen,
    )


def target_modules(model: Any, settings: Lora) -> str | list[str]:
    """Return the names of the modules that get an adapter; raises `ModelError` with what to set if they are unknown."""
    if settings.targets == "all-linear" and settings.layers is None:
        return "all-linear"
    read = decoder_of(model) if is_part_of(model) else model
    linear = {
        name.rsplit(".", 1)[-1] for name, module in read.named_modules() if isinstance(module, nn.Linear | Conv1D)
    } - {"lm_head", "embed_out"}
    if settings.targets == "all-linear":  # PEFT takes layers only beside names
        return sorted(linear)
    if settings.targets == "auto":
        names = PEFT_TARGETS.get(model.config.model_type) or PEFT_TARGETS.get(model.config.get_text_config().model_type)
        if names is None:
            raise ModelError(
                f"recipe.lora.targets: auto, but PEFT knows no targets for a {model.config.model_type!r} model. "
                f"Set all-linear, or some of: {', '.join(sorted(linear))}."
            )
        return list(names)
    unknown = [name for name in settings.targets if name not in linear]
    if unknown:
        raise ModelError(
            f"recipe.lora.targets: the base has no {', '.join(unknown)}. The choices are: {', '.join(sorted(linear))}."
        )
    return settings.targets


def save_adapter(adapted: PeftModel, folder: Path) -> None:
    """Write the adapter to `folder` in PEFT's format (adapter_config.json, adapter_model.safetensors)."""
    # The base's embeddings are not the adapter's, whatever PEFT concludes from the size of the vocabulary.
    adapted.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def update_norms(adapted: PeftModel) -> tuple[float, float]:
    """Return ‖ΔW‖_F over all adapted weights together, and the same as a share of ‖W‖_F.

    The experts of a mixture have one pair of factors each.
    """
    update = weight = 0.0
    layers: list[Any] = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        update += (layer.scaling["default"] * product_norm(layer, "default")) ** 2
        with align_module_device(layer.get_base_layer()):  # a weight that lies on the disk is read for this
            original = layer.get_param() if isinstance(layer, ParamWrapper) else _full(layer.get_base_layer())
            weight += float(torch.linalg.vector_norm(original.detach(), dtype=torch.float64)) ** 2
    return math.sqrt(update), math.sqrt(update / weight)


def product_norm(layer: Any, adapter: str) -> float:
    """Return ‖B A‖_F of an adapted layer. B A is never formed: ‖B A‖² = tr((BᵀB)(A Aᵀ)), r × r products in float64."""
    a = layer.lora_A[adapter].weight.detach().double()
    b = layer.lora_B[adapter].weight.detach().double()
    if isinstance(layer, ParamWrapper):  # A is (experts · r, in) and B (out, r · experts), as PEFT lays them out
        a = a.reshape(layer.num_experts, -1, a.shape[-1])
        b = b.reshape(b.shape[0], -1, layer.num_experts).permute(2, 0, 1)
    return math.sqrt(max(float(((b.mT @ b) * (a @ a.mT)).sum()), 0.0))


def _full(module: Any) -> torch.Tensor:
    """Return the weights of a module in full, also of one in 4 or 8 bits."""
    held = module.weight
    full = dequantize_module_weight(module)
    module.weight = held  # PEFT leaves a copy without the scales of its rows
    return full


@contextlib.contextmanager
def _attached(base: LoadedBase, config: PeftConfig, what: str, seed: int = 0) -> Iterator[PeftModel]:
    """Attach an adapter for the length of the block, drawn from `seed`; raises `ModelError` if it finds no place."""
    before = dict(base.model.named_modules())
    try:
        with torch.random.fork_rng(base.gpus), warnings.catch_warnings(), seeming_present(base.model):
            torch.manual_seed(seed)
            # PEFT asks transformers for a deprecated name
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            # ... warns of what merging a tied head could do, and nothing is merged here
            warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
            # ... and looks among modules for the ranks that it gave to the experts' parameters
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match", RuntimeWarning)
            adapted = get_peft_model(base.model, config)
    except BaseException as error:
        _put_back(base.model, before)  # PEFT may have stopped half-way
        if not isinstance(error, UNFIT):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        raise ModelError(f"adapter {what} has no place on this base: {lines[0]}") from error
    combine(adapted)
    try:
        yield adapted
    finally:
        # At the end of the program nothing uses the base any more, and the thread of PEFT's progress bar cannot start.
        if not sys.is_finalizing():
            with seeming_present(adapted):
                adapted.unload()
            _put_back(base.model, before)  # PEFT leaves trained copies of whole modules where the originals were


def _put_back(model: nn.Module, before: dict[str, nn.Module]) -> None:
    """Put every module of the base back where it was, and take PEFT's mark off."""
    for name, module in before.items():
        parent, _, leaf = name.rpartition(".")
        if name and getattr(before[parent], leaf) is not module:
            setattr(before[parent], leaf, module)
    if hasattr(model, "peft_config"):  # PEFT warns about it when the next adapter comes
        del model.peft_config
    model.requires_grad_(False).eval()


def _check_layers(adapted: PeftModel, wanted: list[int]) -> None:
    """Look where the adapter really is: PEFT gives it to experts in all layers, and some layers may have no target."""
    blocks = enumerate(blocks_of(adapted.get_base_model()), start=1)
    found = [layer for layer, block in blocks if any(isinstance(module, LoraLayer) for module in block.modules())]
    if found != wanted:
        raise ModelError(
            f"recipe.lora.layers: {wanted} was asked for, and PEFT adapts the layers {found} of this base. "
            "Choose recipe.lora.targets that all of these layers have and that are not experts."
        )
