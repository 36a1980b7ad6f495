"""Where the weights of a model lie: on one device, or spread over several by accelerate."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook
from accelerate.utils import get_max_memory
from torch import nn

from mossa.errors import ModelError, StudyError

PLACE = re.compile(r"(cuda:\d{1,3}|cpu|disk)(?:=(\d{1,6}(?:\.\d{1,3})?)(KB|MB|GB))?")
SIZES = {"KB": 1e3, "MB": 1e6, "GB": 1e9}
FILLED = 0.9  # of the memory that is free; the rest is for what runs


def is_split(device: str) -> bool:
    """Tell whether `device` names several places for one model, or how much of one it may take."""
    return "+" in device or "=" in device


def places_of(device: str) -> dict[str, int | None]:
    """Return the places in `cuda:0+cuda:1=20GB+cpu+disk`, in order, each with the most bytes of weights it may hold.

    Raises `StudyError` for anything else.
    """
    places: dict[str, int | None] = {}
    order = ("cuda", "cpu", "disk")
    for part in device.split("+"):
        found = PLACE.fullmatch(part)
        kinds = [order.index(place.partition(":")[0]) for place in [*places, *([found[1]] if found else [])]]
        if not found or found[1] in places or kinds != sorted(kinds):
            raise StudyError(
                f"--device {device}: {part!r} is not allowed there. Name each place once, GPUs first, then cpu, then "
                "disk, each with the most it may hold if you like: cuda:0=20GB+cuda:1+cpu+disk"
            )
        places[found[1]] = int(float(found[2]) * SIZES[found[3]]) if found[2] else None
    return places


@contextlib.contextmanager
def placement(device: str) -> Iterator[dict[str, Any]]:
    """Yield what `from_pretrained` is told about where weights go: here alone, or as accelerate deals them out."""
    if not is_split(device):
        yield {"device_map": {"": device}}
        return
    free = get_max_memory()
    limits: dict[int | str, int] = {}
    for place, limit in places_of(device).items():
        key = int(place.removeprefix("cuda:")) if place.startswith("cuda:") else place
        if place != "disk":
            most = int(FILLED * free[key])
            limits[key] = min(limit or most, most)
    folder = tempfile.mkdtemp(prefix="mossa-offload-")
    try:
        yield {"device_map": "auto", "max_memory": limits, "offload_folder": folder}
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def settle(model: Any, device: str, placed: dict[str, Any]) -> Any:
    """Return the model that was loaded as `placed` says, after a look at where its weights went.

    Raises `ModelError` if some went to the disk and `device` does not name it.
    """
    if not is_split(device):
        return model
    weakref.finalize(model, shutil.rmtree, placed["offload_folder"], ignore_errors=True)
    parts = Counter(map(str, model.hf_device_map.values()))
    if parts["disk"] and "disk" not in places_of(device):
        raise ModelError(
            f"--device {device}: the base does not fit there, {parts['disk']} of its {parts.total()} parts are left "
            "over. Add +cpu or +disk (slow), allow more, or set base.quantise: 4-bit."
        )
    return model


def device_of(model: Any) -> torch.device:
    """Return where a model's inputs go."""
    embeddings = model.get_input_embeddings()
    embeddings = getattr(embeddings, "base_layer", embeddings)
    if isinstance(hook := getattr(embeddings, "_hf_hook", None), AlignDevicesHook) and hook.offload:
        return torch.device(hook.execution_device or 0)
    return embeddings.weight.device


def lies_elsewhere(model: Any) -> bool:
    """Tell whether some weights are not where they are used, and are brought there only while they are."""
    return any(getattr(getattr(module, "_hf_hook", None), "offload", False) for module in model.modules())


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Hold the model's weights in float32 for the block, which holds those in bfloat16 exactly, and then as they were.

    Raises `ModelError` if some weights lie in main memory or on the disk and are brought in their own format.
    """
    held = [(parameter, parameter.data) for parameter in model.parameters() if parameter.dtype == torch.bfloat16]
    if held and lies_elsewhere(model):
        raise ModelError(
            "representations.dtype: float32 needs all weights on the devices that use them. Name only GPUs with "
            "--device, or set representations.dtype: base."
        )
    try:
        for parameter, data in held:
            parameter.data = data.float()
        yield
    finally:
        for parameter, data in held:
            parameter.data = data


@contextlib.contextmanager
def seeming_present(model: Any) -> Iterator[None]:
    """Show weights that lie elsewhere as tensors without storage on the device that runs them, for the block.

    PEFT puts an adapter's weights where it finds the base's, and brings all of them into memory to take it off.
    """
    away: list[tuple[nn.Module, AlignDevicesHook, dict[str, nn.Parameter]]] = []
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        if isinstance(hook, AlignDevicesHook) and hook.offload:
            held = module.named_parameters(recurse=False, remove_duplicate=False)
            away.append((module, hook, {name: parameter for name, parameter in held if parameter.is_meta}))
    for module, hook, held in away:
        hook.offload = False
        for name, parameter in held.items():
            one = torch.zeros((), dtype=parameter.dtype, device=torch.device(hook.execution_device or 0))
            setattr(module, name, nn.Parameter(one.expand(parameter.shape), requires_grad=False))
    try:
        yield
    finally:
        for module, hook, held in away:
            hook.offload = True
            for name, parameter in held.items():
                setattr(module, name, parameter)
