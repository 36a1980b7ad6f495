"""Where a long training run stands, on disk, so that it goes on exactly where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mossa.training.randomness import random_state, set_random_state
from mossa.training.team import TeamLost

INTERVAL = 120.0  # seconds of work between two checkpoints
SHARE = 0.02  # of the time may go into writing them


@dataclass
class Progress:
    """What a training run has done: optimizer steps, target tokens seen, the loss of every step (nats per token)."""

    step: int = 0
    target_tokens: int = 0
    losses: list[float] = field(default_factory=list[float])


class Keeper:
    """Writes where a training stands into `folder`: every `every` steps, else about every two minutes, and at a stop.

    Writing takes at most a fiftieth of the time. What is written is the state between two steps: `weights` by name, the
    optimizer's moments, and the random state with which the next step begins. Of several processes that share a
    training one `writes`, and all read.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        weights: dict[str, Any],
        optimizer: torch.optim.Optimizer,
        every: int | None = None,
        writes: bool = True,
    ) -> None:
        self.folder, self.fingerprint, self.weights, self.optimizer = folder, fingerprint, weights, optimizer
        self.every, self.writes = every, writes
        self.cost = 0.0  # seconds that the last writing took
        self.written = 0  # the step of the last writing
        self.since = time.monotonic()

    @contextmanager
    def watching(self, progress: Progress) -> Iterator[None]:
        """Keep what `progress` tells of for the length of the block, also when the run is stopped within it."""
        self.progress, self.written = progress, progress.step
        self.begun: tuple[int, dict[str, torch.Tensor]] = (-1, {})
        self.since = time.monotonic()
        try:
            yield
        except (KeyboardInterrupt, SystemExit, TeamLost):
            with suppress(OSError, SafetensorError):  # the disk may be why we stop; the last one is still there
                self._save_if_whole()
            raise

    def between_steps(self) -> None:
        """Note the random state with which the next step begins, and write if it is time."""
        self.begun = self.progress.step, random_state(self.weights.values())
        done = self.progress.step - self.written
        late = time.monotonic() - self.since >= max(INTERVAL, self.cost / SHARE)
        if self.writes and done and (late if self.every is None else done >= self.every):
            self._save()

    def _save_if_whole(self) -> None:
        """Write, unless the stop came while a step was changing weights; what was half computed is forgotten."""
        progress, step = self.progress, self.progress.step
        if not self.writes:
            return
        changed = max(int(self.optimizer.state[tensor].get("step", 0)) for tensor in self.weights.values())
        if step > self.written and changed == step == len(progress.losses):
            self._save()

    def _save(self) -> None:
        """Write weights, moments, random state and progress as one file, replaced atomically."""
        start = time.monotonic()
        step, random = self.begun
        if step != self.progress.step:  # a step has ended, and nothing was drawn since
            random = random_state(self.weights.values())
        tensors = {f"weight.{name}": tensor.detach().contiguous().cpu() for name, tensor in self.weights.items()}
        for name, tensor in self.weights.items():
            for moment, value in self.optimizer.state[tensor].items():
                tensors[f"optimizer.{moment}.{name}"] = value.detach().contiguous().cpu()
        tensors |= {f"random.{device}": state for device, state in random.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "checkpoint.partial"
        metadata = {"progress": json.dumps(asdict(self.progress)), "fingerprint": self.fingerprint}
        save_file(tensors, temporary, metadata={**metadata, "checksum": _checksum(tensors)})
        with suppress(FileNotFoundError):  # another shard does this training too, and has moved it or has landed
            temporary.replace(self.folder / "checkpoint.safetensors")
        self.written, self.since = self.progress.step, time.monotonic()
        self.cost = self.since - start

    def load(self) -> Progress | None:
        """Restore weights, optimizer and random state; return the progress, None if there is nothing to go on from.

        A checkpoint of another fingerprint, or a damaged one, is not used: nothing is touched and training begins anew.
        """
        path = self.folder / "checkpoint.safetensors"
        try:
            header = _metadata(path)
            tensors = load_file(path)
            progress = Progress(**json.loads(header["progress"]))
            if header["fingerprint"] != self.fingerprint or header["checksum"] != _checksum(tensors):
                return None
            values = {name: tensors[f"weight.{name}"] for name in self.weights}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        with torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.copy_(values[name])
                self.optimizer.state[tensor] = {
                    key.removeprefix("optimizer.").removesuffix(f".{name}"): value.to(tensor.device)
                    for key, value in tensors.items()
                    if key.startswith("optimizer.") and key.endswith(f".{name}")
                }
        set_random_state(
            {name.removeprefix("random."): state for name, state in tensors.items() if name.startswith("random.")},
            self.weights.values(),
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
