"""A worker process of the local engine: it is given a job and does one unit after the other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from mossa.errors import DeviceLost, RunFolderError
from mossa.run.events import Advanced


def work(pipe: Connection, device: str, threads: int) -> None:
    """Do the units that come through `pipe`, after the job; send back how each goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process stops us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an exception: a training writes where it stands
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        job = pipe.recv_bytes()  # at once: the main process waits until it is taken
        from mossa.run.perform import perform  # torch and the rest
        from mossa.steps.context import StepContext

        with threads_limited(threads):
            context = StepContext(pickle.loads(job), device)
            while (given := pipe.recv()) is not None:
                unit, share = given
                tells = share.rank == 0
                context.on_progress = (lambda *at, unit=unit: pipe.send(Advanced(unit.id, *at))) if tells else None
                try:
                    pipe.send(perform(unit, context, share))
                except RunFolderError as error:
                    pipe.send(error)
                except DeviceLost as lost:
                    pipe.send(lost)
                    os._exit(1)  # at once: what tidies up at the end would ask the GPU too


def _end_with_parent() -> None:
    """Never outlive the main process: an orphan could still write while the next run is at work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Use this many threads in every library, and only operations whose result does not depend on timing."""
    import torch
    from threadpoolctl import threadpool_limits

    from mossa.models.kernels import same_bits

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # NumPy's and scikit-learn's own pools: two processes with a pool each would fight over the cores
        with threadpool_limits(threads), same_bits():
            yield
    finally:
        torch.set_num_threads(before)
