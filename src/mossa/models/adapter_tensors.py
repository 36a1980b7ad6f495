"""Compares the tensors in an adapter's file with those that its configuration asks for on a base."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import align_module_device
from peft import PeftModel, get_peft_model_state_dict

from mossa.errors import ModelError


def own_tensors(adapted: PeftModel, weights: dict[str, torch.Tensor], adapter: str) -> dict[str, torch.Tensor]:
    """Return the tensors in the file that are the adapter's, by PEFT's names: all that it needs, and no others.

    PEFT stores the base's embeddings and head beside an adapter of theirs, or of a base whose vocabulary was changed:
    they must equal the base's, and are left out. Raises `ModelError` for anything else, before anything is loaded; PEFT
    itself would only warn, or stop half-way.
    """
    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    of_base = {name for name in weights.keys() - wanted.keys() if _layer(adapted, name) is not None}
    saved = {name: tuple(tensor.shape) for name, tensor in weights.items() if name not in of_base}
    missing, extra = wanted.keys() - saved.keys(), saved.keys() - wanted.keys()
    other = {name for name in wanted.keys() & saved.keys() if wanted[name] != saved[name]}
    _check_vocabulary(adapted, {name: weights[name] for name in of_base | other}, adapter)
    if missing or extra or other:
        example = min([*missing, *extra, *other])
        raise ModelError(
            f"adapter {adapter} is not for this base: {len(missing)} tensors are missing, {len(extra)} have no place "
            f"and {len(other)} have another shape (for example {example})."
        )
    for name in sorted(of_base):
        if not _is_bases(adapted, name, weights[name]):
            raise ModelError(
                f"adapter {adapter} holds weights of its base beside its own, and {name} is not as this base has it: "
                "it was trained, or the base is another. Merge the adapter into its own base with PEFT's "
                "merge_and_unload, save that, and give it as a checkpoint."
            )
    return {name: tensor for name, tensor in weights.items() if name not in of_base}


def _layer(adapted: PeftModel, name: str) -> Any:
    """Return the base's embeddings or head if `name` is their weight or bias, else None."""
    place, _, leaf = name.replace(".base_layer.", ".").rpartition(".")
    if leaf not in ("weight", "bias"):
        return None
    base: Any = adapted.get_base_model()
    for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
        layer = getattr(layer, "base_layer", layer)
        if any(layer is held and _plain(path) == place for path, held in adapted.named_modules(remove_duplicate=False)):
            return layer
    return None


def _plain(path: str) -> str:
    return path.removesuffix(".base_layer")


def _is_bases(adapted: PeftModel, name: str, saved: torch.Tensor) -> bool:
    """Tell whether a stored tensor is the base's own, in the coarser of their two number formats."""
    layer = _layer(adapted, name)
    with align_module_device(layer):
        held: torch.Tensor | None = getattr(layer, name.rpartition(".")[2], None)
        held = None if held is None else held.detach().cpu()
    if held is None or held.shape != saved.shape:
        return False
    coarser = min(held.dtype, saved.dtype, key=lambda dtype: (dtype.itemsize, dtype == torch.float16))
    return torch.equal(held.to(coarser), saved.to(coarser))


def _check_vocabulary(adapted: PeftModel, tensors: dict[str, torch.Tensor], adapter: str) -> None:
    """Raise `ModelError` if the adapter was made for a base that embeds another number of tokens."""
    base: Any = adapted.get_base_model()
    embeddings = base.get_input_embeddings()
    embedded: int = getattr(getattr(embeddings, "base_layer", embeddings), "num_embeddings", 0)
    for name, tensor in sorted((name, tensor) for name, tensor in tensors.items() if tensor.dim()):
        if "embedding_A" in name or _layer(adapted, name) is not None or ".lm_head.lora_B" in name:
            tokens = tensor.shape[-1] if "embedding_A" in name else tensor.shape[0]
            if embedded and tokens != embedded:
                raise ModelError(
                    f"adapter {adapter} was made for a base that embeds {tokens:,} tokens, and this one embeds "
                    f"{embedded:,} ({name}): tokens were added before it was trained. Give that base, or the adapter "
                    "merged into it (PEFT's merge_and_unload) as a checkpoint."
                )
