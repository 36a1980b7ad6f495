"""The local engine: this process, or N processes with a base each."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from mossa.errors import DeviceLost, MossaError
from mossa.run.events import Advanced, Event, Outcome, Started
from mossa.run.queue import Queue
from mossa.run.teams import Teams, Worker
from mossa.run.worker import threads_limited, work
from mossa.run.worker_failures import WorkerFailures
from mossa.steps.job import Job, Share
from mossa.tasks.stored import store_tasks
from mossa.units.unit import Unit

LOOK = 1.0  # seconds between two looks at the workers of a broken team
PATIENCE = 20.0  # seconds that workers have to stop by themselves: a training first writes where it stands


def run_here(job: Job, queue: Queue, device: str, threads: int, on_event: Callable[[Event], None]) -> None:
    """Do all units of `queue` in this process; `on_event` gets every event and settles the queue."""
    from mossa.run.perform import perform  # torch and the rest; with workers, only they need it
    from mossa.steps.context import StepContext

    with threads_limited(threads):
        context = StepContext(job, device)
        loaded: str | None = None
        while (unit := queue.next(loaded)) or queue.wait():
            if unit is None:
                continue
            on_event(Started(unit, 0))
            context.on_progress = lambda *at, name=unit.id: on_event(Advanced(name, *at))
            loaded = unit.model
            on_event(perform(unit, context))


def run_in_processes(
    job: Job,
    queue: Queue,
    devices: list[str],
    threads: int,
    on_event: Callable[[Event], None],
    say: Callable[[str], None],
    data_parallel: int = 1,
) -> None:
    """Do all units of `queue` in one process per entry of `devices`; `on_event` gets every event and settles it.

    `data_parallel` of them share each training of a mixture. A process that dies is replaced, with a message, and its
    unit done again, up to three times; one whose device fails in two units in a row is not. Raises `MossaError` that
    a worker met outside of a unit, and `DeviceLost` if no worker is left.
    """
    with job.run.writing():  # the text of all tasks, once for all workers; it goes with the runner
        given = pickle.dumps(replace(job, tasks=store_tasks(job.tasks, job.run.scratch())))
    crew = [_Worker(number, given, device, threads) for number, device in enumerate(devices)]
    failures = WorkerFailures(job, queue, on_event, say)
    teams = Teams[_Worker](queue, data_parallel, job.run.scratch)
    try:
        while True:
            for worker, unit, share in teams.give(crew):
                worker.give(unit, share)
                if share.rank == 0:
                    on_event(Started(unit, worker.number))
            busy = [worker for worker in crew if worker.unit is not None]
            if not busy:
                if queue.wait():
                    continue
                return
            for worker in teams.overdue():
                worker.process.kill()
            for ready in wait([worker.pipe for worker in busy], LOOK if teams.ends else queue.pause):
                worker = next(worker for worker in busy if worker.pipe is ready)
                _hear(worker, crew, teams, failures, on_event)
    finally:
        for worker in crew:
            worker.ask_to_stop()
        deadline = time.monotonic() + PATIENCE
        for worker in crew:
            worker.stop(deadline)


def _hear(
    worker: _Worker,
    crew: list[_Worker],
    teams: Teams[_Worker],
    failures: WorkerFailures,
    on_event: Callable[[Event], None],
) -> None:
    """Take what a worker has sent, or its death; raises `MossaError` that ends the run."""
    unit, share = worker.unit, worker.share
    assert unit is not None
    try:
        event = worker.pipe.recv()
    except (EOFError, OSError):
        teams.broken(worker, crew)
        failures.over(unit, f"exit code {worker.replace()}; -9 often means: out of memory", share)
        return
    if isinstance(event, DeviceLost):
        teams.broken(worker, crew)
        worker.replace()
        worker.lost.add(unit.id)
        failures.over(unit, str(event), share)
        if len(worker.lost) > 1:  # no unit's fault
            crew.remove(worker)
            worker.stop(time.monotonic())
            failures.say(
                f"The worker on {worker.device} is no longer used: its device fails in one unit after another."
            )
        if not crew:
            raise event
    elif isinstance(event, MossaError):
        raise event
    elif isinstance(event, Outcome):
        worker.unit = None
        worker.lost.clear()
        failures.settle(event, unit)
    else:
        on_event(event)


class _Worker(Worker):
    """A process that does one unit after the other, and the pipe to it."""

    def __init__(self, number: int, job: bytes, device: str, threads: int) -> None:
        self.number, self.job, self.device, self.threads = number, job, device, threads
        self.lost: set[str] = set()  # units over which the device failed, since the last that was done
        self.start()

    def start(self) -> None:
        """Start the process, from a fresh interpreter, so nothing of this one can differ between workers."""
        context: Any = fresh_context()
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(other, self.device, self.threads), daemon=True)
        with _without_main():
            self.process.start()
        other.close()
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(self.job)
        self.forget()

    def replace(self) -> int | None:
        """Start another process in the place of one that died; return the exit code of that one."""
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        self.start()
        return code

    def give(self, unit: Unit, share: Share) -> None:
        """Send a unit; a process that died meanwhile is noticed when its answer is waited for."""
        self.take(unit, share)
        with contextlib.suppress(OSError):
            self.pipe.send((unit, share))

    def ask_to_stop(self) -> None:
        """Let an idle process end, and interrupt one at work; it removes its temporary folder before it ends."""
        if self.unit is None:
            with contextlib.suppress(OSError):
                self.pipe.send(None)
        else:
            self.process.terminate()

    def stop(self, deadline: float) -> None:
        """Wait for the end of the process until `deadline` (monotonic clock), then end it by force."""
        self.process.join(timeout=max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def fresh_context() -> BaseContext:
    """Return what starts workers; on Linux they are forked from one fresh process that has imported the libraries.

    The first call starts that process, which imports while this one goes on.
    """
    if sys.platform != "linux":  # elsewhere, libraries of the system do not survive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mossa.run.preload"])
    forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program that runs us from `multiprocessing`, which would run it again in every worker.

    A script that runs a study needs no `if __name__ == "__main__"` for it, and a worker has nothing to look for there.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program
