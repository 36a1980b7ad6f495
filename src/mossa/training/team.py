"""Data-parallel training: each process takes a part of every batch, and the gradients are summed.

The loss of a step is divided by a number of target tokens that all processes know beforehand, so the sum over processes
is the gradient of the plain batch, however its examples are split. Every process has base, adapter and optimizer;
only the adapter's gradient is sent.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from mossa.errors import TrainingError

LONGEST_WAIT = timedelta(minutes=30)  # for another process; one that dies is noticed at once


class TeamLost(Exception):
    """Another process of the team is gone. The step under way is lost, those before it are not."""


class Team:
    """One process's view of the `size` processes that share a training; alone, nothing is sent."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None, store: Any = None) -> None:
        self.rank, self.size, self.device, self.store = rank, size, device, store

    def part(self, lengths: Sequence[int]) -> list[int]:
        """Return this process's indices; the longest goes first, each to the process with the fewest tokens."""
        tokens = [0] * self.size
        mine: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            rank = tokens.index(min(tokens))
            tokens[rank] += lengths[index]
            if rank == self.rank:
                mine.append(index)
        return sorted(mine)

    def summed(
        self, compute: Callable[[], tuple[float, float]], weights: Sequence[torch.Tensor] = ()
    ) -> tuple[float, float]:
        """Return the two numbers that `compute` gives, and replace the gradients of `weights`, summed over processes.

        If `compute` fails in one process, it fails in all: there with its own error, elsewhere with `TrainingError`.
        Raises `TeamLost` if a process is gone.
        """
        if self.size == 1:
            return compute()
        numbers, failure = (0.0, 0.0), None
        try:
            numbers = compute()
        except Exception as error:
            failure = error
            self._tell(str(error))
        reached = [float(weight.grad is not None) for weight in weights]
        told = self._sum(torch.tensor([*numbers, float(failure is not None), *reached], dtype=torch.float64)).tolist()
        if failure:
            raise failure
        if told[2]:
            raise TrainingError(f"another process of this training failed: {self._told()}")
        self._sum_gradients([weight for weight, count in zip(weights, told[3:], strict=True) if count])
        return told[0], told[1]

    def check_step(self, step: int) -> None:
        """Check that all processes go on from the same step; raises `TeamLost`, in all of them, if they do not."""
        steps = torch.zeros(self.size, dtype=torch.float64)
        steps[self.rank] = step
        found = self._sum(steps).tolist()
        if set(found) != {step}:
            raise TeamLost(
                f"its processes read different checkpoints, of steps {sorted({int(step) for step in found})}"
            )

    def seed(self, seed: int, step: int) -> None:
        """Give processes after the first random numbers of their own for this step; the first goes on with its own."""
        if self.rank:
            torch.manual_seed(((seed * self.size + self.rank) * 1_000_003 + step) % 2**63)  # as far as seeds may go

    def _sum_gradients(self, weights: Sequence[torch.Tensor]) -> None:
        """Sum all gradients in one message; a process whose part did not reach a weight adds zero."""
        if not weights:
            return
        own = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = self._sum(torch.cat([gradient.flatten() for gradient in own]))
        for weight, total in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
            weight.grad = total.view_as(weight).to(weight.device)

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        if self.size == 1 or not values.numel():
            return values
        values = values.to(self.device)
        try:
            distributed.all_reduce(values)
        except RuntimeError as error:
            raise TeamLost(str(error).strip().splitlines()[0]) from error
        return values

    def _tell(self, reason: str) -> None:
        with suppress(RuntimeError):
            self.store.set("reason", reason)

    def _told(self) -> str:
        with suppress(RuntimeError):
            if self.store.check(["reason"]):
                return self.store.get("reason").decode()
        return "it gave no reason"


ALONE = Team()


@contextmanager
def joined(rank: int, size: int, meeting: Path, device: torch.device) -> Iterator[Team]:
    """Meet the other processes over the file `meeting`, which all can write to, and yield the team.

    Gradients travel by NCCL between different GPUs, else by gloo. Raises `TeamLost` if not all of them come.
    """
    try:
        store: Any = torch.distributed.FileStore(  # pyright: ignore[reportPrivateImportUsage]: documented
            str(meeting), size
        )
        store.set_timeout(LONGEST_WAIT)
        backend = _backend(store, rank, size, device)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    except RuntimeError as error:
        raise TeamLost(str(error).strip().splitlines()[0]) from error
    try:
        yield Team(rank, size, device if backend == "nccl" else torch.device("cpu"), store)
    finally:
        distributed.destroy_process_group()
        meeting.unlink(missing_ok=True)


def _backend(store: Any, rank: int, size: int, device: torch.device) -> str:
    """Return what gradients travel by; all processes see the same places, so all choose the same."""
    store.set(f"place {rank}", f"{socket.gethostname()} {device}")
    places = [store.get(f"place {other}").decode() for other in range(size)]
    if len({place.split()[0] for place in places}) == 1 and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing leaves it
    return "nccl" if len(set(places)) == size and all(" cuda" in place for place in places) else "gloo"
