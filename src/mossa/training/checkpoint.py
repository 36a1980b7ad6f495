"""Where a long training run stands, on disk, so that it goes on exactly where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mossa.training.randomness import random_state, set_random_state


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
    tensors |= {f"random.{device}": state for device, state in random_state(weights.values()).items()}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "checkpoint.partial"
    metadata = {"progress": json.dumps(asdict(progress)), "fingerprint": fingerprint, "checksum": _checksum(tensors)}
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(folder / "checkpoint.safetensors")


def load_checkpoint(
    folder: Path, fingerprint: str, weights: dict[str, Any], optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Restore weights, optimizer and random state; return the progress, or None if there is nothing to go on from.

    A checkpoint of another fingerprint, or a damaged one, is not used: nothing is touched and training begins anew.
    """
    path = folder / "checkpoint.safetensors"
    try:
        header = _metadata(path)
        tensors = load_file(path)
        progress = Progress(**json.loads(header["progress"]))
        if header["fingerprint"] != fingerprint or header["checksum"] != _checksum(tensors):
            return None
        values = {name: tensors[f"weight.{name}"] for name in weights}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(values[name])
            optimizer.state[tensor] = {
                key.removeprefix("optimizer.").removesuffix(f".{name}"): value.to(tensor.device)
                for key, value in tensors.items()
                if key.startswith("optimizer.") and key.endswith(f".{name}")
            }
    set_random_state(
        {name.removeprefix("random."): state for name, state in tensors.items() if name.startswith("random.")}
    )
    return progress


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as opened:
        return opened.metadata() or {}
