"""Where the units of a run are done: on this machine, on a Ray cluster, by shards, or by an engine of your own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mossa.errors import StudyError
from mossa.models.converted import readable, waits_for_conversion
from mossa.run.devices import find_device
from mossa.run.engines.runners import Runner
from mossa.run.engines.shards import SharedQueue
from mossa.run.events import Event
from mossa.run.queue import Queue, needed
from mossa.run.teams import check_size
from mossa.similarity.registry import SHIPPED
from mossa.study.schema import StudySettings

if TYPE_CHECKING:
    from mossa.run.options import RunOptions
    from mossa.run.run import Prepared
    from mossa.steps.job import Job

SMALL_BASE = 400_000_000  # bytes of weights below which one thread per process is fastest


def local(
    job: Job, queue: Queue, options: RunOptions, on_event: Callable[[Event], None], say: Callable[[str], None]
) -> None:
    """Do all units of `queue` in this process, or in several on this machine."""
    from mossa.run.engines.local import run_here, run_in_processes

    readable(job.study.base, weights=True, say=say)  # here, so that no worker waits for another to do it
    devices, threads = choose_devices(job.study, options.device, options.workers)
    check_size(options.data_parallel, len(devices))
    devices = devices[: max(options.data_parallel, len(queue.todo))]
    own = [name for name in job.study.similarity.estimators or () if name not in SHIPPED]
    if own and len(devices) > 1:
        say(f"One worker does everything, because only this process knows the estimator {', '.join(own)}.")
        devices = devices[:1]
    alone = len(devices) == 1 and (own or not devices[0].startswith("cuda"))  # what uses a GPU must be able to die
    if alone:
        run_here(job, queue, devices[0], threads, on_event)
    else:
        run_in_processes(job, queue, devices, threads, on_event, say, options.data_parallel)


def import_for_workers(study: StudySettings, units: int, options: RunOptions) -> None:
    """Begin to import, beside this process, what workers on this machine need, if `units` will have several."""
    from mossa.run.engines.local import fresh_context

    if options.way.here and min(units, options.workers or (2 if _is_small(study) else 1)) > 1:
        fresh_context()


def ray(
    job: Job, queue: Queue, options: RunOptions, on_event: Callable[[Event], None], say: Callable[[str], None]
) -> None:
    """Do all units of `queue` on a Ray cluster."""
    from mossa.run.engines.ray import run_on_ray

    small = _is_small(job.study)
    run_on_ray(
        job, queue, options.address, options.device, options.workers, small, on_event, say, options.data_parallel
    )


def own_queue(prepared: Prepared, _options: RunOptions, _runner: Runner, say: Callable[[str], None]) -> Queue:
    """Return what is to do for a run alone: all that is not done, or is damaged, or is made from that."""
    damaged = prepared.damaged(prepared.units)
    for name, what in damaged.items():
        say(f"{prepared.units[name].title} is damaged and will be done again: {what}")
    return Queue(prepared.units, needed(prepared.units, {*prepared.todo, *damaged}))


@dataclass(frozen=True, slots=True)
class Engine:
    """How the units of a run are done.

    `work` takes units from a queue until none is left, does each with `perform`, and tells `on_event` of it, which
    settles the queue; `queue` makes that queue. `here`: on this machine, so what may be wrong with it is tried before
    anything is written. `shares`: other runs of the same plan may work in the folder.
    """

    work: Callable[[Job, Queue, RunOptions, Callable[[Event], None], Callable[[str], None]], None]
    queue: Callable[[Prepared, RunOptions, Runner, Callable[[str], None]], Queue] = own_queue
    here: bool = False
    shares: bool = False


ENGINES = {
    "local": Engine(local, here=True),
    "ray": Engine(ray),
    "shards": Engine(local, SharedQueue, here=True, shares=True),
}


def choose_devices(study: StudySettings, device: str, workers: int | None) -> tuple[list[str], int]:
    """Return the device of each worker, and the threads of each.

    A small base in a local folder gets one thread, whose sums are the same to the bit however many processes share the
    work; a larger one gets the cores divided by the workers. Raises `StudyError` for a device that is not there.
    """
    import torch

    from mossa.models.placement import is_split

    device = find_device(device)
    gpus = torch.cuda.device_count()
    if device == "cuda":
        return [f"cuda:{number % gpus}" for number in range(workers or gpus)], 1
    cores = len(os.sched_getaffinity(0))
    if is_split(device) and workers not in (None, 1):
        raise StudyError(f"--workers {workers}: a base that is spread over {device} is loaded once; give 1.")
    small = _is_small(study)
    count = workers or (cores if small and device == "cpu" else 1)
    return [device] * count, 1 if small else max(1, cores // count)


def _is_small(study: StudySettings) -> bool:
    """Tell whether the base lies in a local folder, in few bytes; a GGUF is counted before it is converted."""
    if waits_for_conversion(study.base):
        from mossa.models.base import without_storage

        weights = sum(parameter.numel() for parameter in without_storage(study.base).parameters())
        return weights * (2 if study.base.dtype == "bfloat16" else 4) < SMALL_BASE
    folder = Path(readable(study.base, weights=True).model)
    return folder.is_dir() and sum(path.stat().st_size for path in folder.glob("*.safetensors")) < SMALL_BASE
