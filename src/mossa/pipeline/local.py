"""The local engine: this process, or N processes with a base each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mossa.errors import MossaError, RunFolderError
from mossa.pipeline.events import Advanced, Event, Outcome, Started
from mossa.pipeline.perform import perform
from mossa.pipeline.queue import Queue
from mossa.pipeline.store import RunFolder
from mossa.pipeline.unit import Unit
from mossa.pipeline.workbench import Workbench
from mossa.study.schema import Study
from mossa.tasks.task import Task

MOST_DEATHS = 3  # of a process over one unit, before the unit counts as failed


def run_here(
    study: Study,
    run: RunFolder,
    queue: Queue,
    fingerprints: dict[str, str],
    device: str,
    threads: int,
    tasks: list[Task],
    on_event: Callable[[Event], None],
) -> None:
    """Do all units of `queue` in this process; `on_event` hears of everything and settles the queue."""
    with _threads(threads):
        bench = Workbench(study, run, device, tasks)
        loaded: str | None = None
        while unit := queue.next(loaded):
            on_event(Started(unit, 0))
            bench.on_progress = lambda done, total, name=unit.id: on_event(Advanced(name, done, total))
            loaded = unit.model
            on_event(perform(unit, fingerprints[unit.id], bench))


def run_in_processes(
    study: Study,
    run: RunFolder,
    queue: Queue,
    fingerprints: dict[str, str],
    devices: list[str],
    threads: int,
    on_event: Callable[[Event], None],
) -> None:
    """Do all units of `queue` in one process per entry of `devices`; `on_event` hears of everything and settles it.

    A process that dies is replaced and its unit done again, up to three times. Raises `MossaError` that a worker met
    outside of a unit.
    """
    crew = [_Worker(number, study, run.path, device, threads) for number, device in enumerate(devices)]
    deaths: dict[str, int] = {}
    try:
        while True:
            for worker in crew:
                if worker.unit is None and (unit := queue.next(worker.loaded)):
                    worker.give(unit, fingerprints[unit.id])
                    on_event(Started(unit, worker.number))
            busy = [worker for worker in crew if worker.unit is not None]
            if not busy:
                return
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is ready)
                try:
                    event = worker.pipe.recv()
                except (EOFError, OSError):
                    _replace(worker, queue, deaths, run, fingerprints, on_event)
                    continue
                if isinstance(event, MossaError):
                    raise event
                if isinstance(event, Outcome):
                    worker.unit = None
                on_event(event)
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """A process that does one unit after the other, and the pipe to it."""

    def __init__(self, number: int, study: Study, path: Path, device: str, threads: int) -> None:
        self.number = number
        self.arguments = (study.model_dump_json(), str(path), device, threads)
        self.unit: Unit | None = None
        self.loaded: str | None = None
        self.start()

    def start(self) -> None:
        """Start the process; it is a fresh interpreter, so nothing of this one can differ between workers."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(other, *self.arguments), daemon=True)
        self.process.start()
        other.close()
        self.unit = self.loaded = None

    def give(self, unit: Unit, fingerprint: str) -> None:
        """Send a unit; a process that died meanwhile is noticed when its answer is waited for."""
        self.unit, self.loaded = unit, unit.model
        with contextlib.suppress(OSError):
            self.pipe.send((unit, fingerprint))

    def stop(self) -> None:
        """End the process: at once if it is idle, within seconds if it is not."""
        if self.unit is None:
            with contextlib.suppress(OSError):
                self.pipe.send(None)
        else:
            self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _replace(
    worker: _Worker,
    queue: Queue,
    deaths: dict[str, int],
    run: RunFolder,
    fingerprints: dict[str, str],
    on_event: Callable[[Event], None],
) -> None:
    unit = worker.unit
    assert unit is not None
    worker.process.join()
    deaths[unit.id] = deaths.get(unit.id, 0) + 1
    how = (
        f"its process died {deaths[unit.id]} times (exit code {worker.process.exitcode}; -9 often means: out of memory)"
    )
    worker.pipe.close()
    worker.start()
    if deaths[unit.id] < MOST_DEATHS:
        queue.again(unit.id)
        return
    run.record_failure(unit, fingerprints[unit.id], how)
    on_event(Outcome(unit.id, "failed", how))


def _work(pipe: Connection, study_json: str, path: str, device: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process stops us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an exception, so that temporary folders are removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError), _threads(threads):
        bench = Workbench(Study.model_validate_json(study_json), RunFolder(Path(path)), device)
        while (message := pipe.recv()) is not None:
            unit, fingerprint = message
            bench.on_progress = lambda done, total, unit=unit: pipe.send(Advanced(unit.id, done, total))
            try:
                pipe.send(perform(unit, fingerprint, bench))
            except RunFolderError as error:
                pipe.send(error)


def _end_with_parent() -> None:
    """Never outlive the main process: an orphan could still write while the next run is at work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Use this many threads in every library, and only operations whose result does not depend on timing."""
    import torch
    from threadpoolctl import threadpool_limits

    before: Any = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        # NumPy's and scikit-learn's own pools: two processes with a pool each would fight over the cores
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
