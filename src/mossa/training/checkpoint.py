"""Where a long training run stands, on disk, so that it goes on exactly where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file


@dataclass
class Progress:
    """What a training run has done: optimizer steps, target tokens seen, the loss of every step (nats per token)."""

    step: int = 0
    target_tokens: int = 0
    losses: list[float] = field(default_factory=list[float])


def save_checkpoint(
    folder: Path, fingerprint: str, progress: Progress, weights: dict[str, Any], optimizer: torch.optim.Optimizer
) -> None:
    """Write weights, optimizer moments, random state and progress as one file, replaced atomically."""
    tensors = {f"weight.{name}": tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
    for name, tensor in weights.items():
        for moment, value in optimizer.state[tensor].items():
            tensors[f"optimizer.{moment}.{name}"] = value.detach().contiguous().cpu()
    tensors["random.cpu"] = torch.get_rng_state()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "checkpoint.partial"
    save_file(tensors, temporary, metadata={"progress": json.dumps(asdict(progress)), "fingerprint": fingerprint})
    temporary.replace(folder / "checkpoint.safetensors")


def load_checkpoint(
    folder: Path, fingerprint: str, weights: dict[str, Any], optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Restore weights, optimizer and random state; return the progress, or None if there is nothing to go on from.

    A checkpoint of another fingerprint, or a damaged one, is not used: training begins anew.
    """
    path = folder / "checkpoint.safetensors"
    try:
        header = _metadata(path)
        if header.get("fingerprint") != fingerprint:
            return None
        tensors = load_file(path)
        with torch.no_grad():
            for name, tensor in weights.items():
                tensor.copy_(tensors[f"weight.{name}"])
                prefix = "optimizer."
                optimizer.state[tensor] = {
                    key[len(prefix) : -len(name) - 1]: value
                    if key.startswith("optimizer.step.")
                    else value.to(tensor.device)
                    for key, value in tensors.items()
                    if key.startswith(prefix) and key.endswith(f".{name}")
                }
        torch.set_rng_state(tensors["random.cpu"])
        return Progress(**json.loads(header["progress"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as opened:
        return opened.metadata() or {}
