"""The state of every random generator that a training draws from: the processor's and its devices'."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def random_state(weights: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state of the generators of the CPU and of every GPU that holds some of the weights, by device."""
    gpus = {weight.device for weight in weights if weight.device.type == "cuda"}
    return {"cpu": torch.get_rng_state()} | {str(gpu): torch.cuda.get_rng_state(gpu) for gpu in gpus}


def set_random_state(states: dict[str, torch.Tensor]) -> None:
    """Go back to a state; that of a GPU which is not here is left out."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state)
        elif torch.device(device).index < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, device)
