"""The state of every random generator that a training draws from: the processor's and its devices'."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def random_state(weights: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state of the generators of the CPU and of every GPU that holds some of the weights, by device."""
    return {"cpu": torch.get_rng_state()} | {str(gpu): torch.cuda.get_rng_state(gpu) for gpu in _gpus(weights)}


def set_random_state(states: dict[str, torch.Tensor], weights: Iterable[torch.Tensor]) -> None:
    """Go back to a state; the first GPU of the weights takes that of the first GPU then, whichever each is."""
    torch.set_rng_state(states["cpu"])
    for gpu, state in zip(_gpus(weights), (states[name] for name in sorted(states.keys() - {"cpu"})), strict=False):
        torch.cuda.set_rng_state(state, gpu)


def _gpus(weights: Iterable[torch.Tensor]) -> list[torch.device]:
    return sorted({weight.device for weight in weights if weight.device.type == "cuda"}, key=str)
