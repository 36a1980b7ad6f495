"""Runs a study: plans, does what is missing or changed, gathers the tables, writes the report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml

from mossa.errors import StudyError
from mossa.pipeline.devices import find_device
from mossa.pipeline.events import Event, Outcome
from mossa.pipeline.plan import plan
from mossa.pipeline.queue import Queue, needed
from mossa.pipeline.results import gather, write_tables
from mossa.pipeline.store import RunFolder, Status
from mossa.pipeline.unit import Unit, fingerprints
from mossa.study.schema import Study
from mossa.tasks.collections import load_tasks
from mossa.tasks.task import Task

SMALL_BASE = 400_000_000  # bytes of weights below which one thread per process is fastest
CHECKED_AT_START = 64_000_000  # bytes; larger files are checked when they are read


@dataclass(frozen=True, slots=True)
class Prepared:
    """A study ready to run: its tasks, its units in order, their fingerprints and where each stands."""

    study: Study
    tasks: list[Task]
    run: RunFolder
    units: dict[str, Unit]
    fingerprints: dict[str, str]
    status: dict[str, Status]

    @property
    def todo(self) -> list[str]:
        """Return the ids of the units that a run would do, in order; what depends on one of them is among them."""
        return needed(self.units, {name for name, status in self.status.items() if status.state != "done"})


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run did: units done in this run, failed (with the reason) and skipped because they were there."""

    prepared: Prepared
    done: list[str]
    failed: dict[str, str]
    kept: int
    tables: dict[str, pd.DataFrame]


def prepare(study: Study, runs: Path) -> Prepared:
    """Load the tasks, plan the units and look where each stands; nothing is written.

    Raises `MossaError` for whatever is wrong with the study.
    """
    tasks = load_tasks(study.tasks)
    units = plan(study, tasks)
    marks = fingerprints(units)
    run = RunFolder(runs / study.name)
    return Prepared(study, tasks, run, units, marks, _statuses(run, units, marks))


def _statuses(run: RunFolder, units: dict[str, Unit], marks: dict[str, str]) -> dict[str, Status]:
    return {name: run.status(unit, marks[name]) for name, unit in units.items()}


def run_study(
    prepared: Prepared,
    device: str = "auto",
    workers: int | None = None,
    on_event: Callable[[Event, Queue], None] | None = None,
    say: Callable[[str], None] = print,
) -> Finished:
    """Do every unit that is missing or changed, then write the tables.

    `device` is auto, cpu, cuda or cuda:i; `workers` defaults to one process per core for a small base on the CPU, one
    per GPU, else one. A unit that fails is marked with its reason and the rest goes on. Raises `RunFolderError` if the
    folder is in use, of another version or cannot be written.
    """
    run = prepared.run
    with run.writing():
        run.path.mkdir(parents=True, exist_ok=True)
    with run.locked():
        run.prepare()
        _write_resolved(prepared.study, run)
        prepared = replace(
            prepared, status=_statuses(run, prepared.units, prepared.fingerprints)
        )  # now that it is ours
        damaged = _find_damage(prepared)
        for name, what in damaged.items():
            say(f"{prepared.units[name].title} is damaged and will be done again: {what}")
        queue = Queue(prepared.units, needed(prepared.units, {*prepared.todo, *damaged}))
        done: list[str] = []

        def settle(event: Event) -> None:
            if isinstance(event, Outcome):
                _settle(event, queue, done, prepared.units, say)
            if on_event:
                on_event(event, queue)

        if queue.todo:
            _do_units(prepared, queue, device, workers, settle)
        tables = gather(run, prepared.units, prepared.fingerprints)
        write_tables(tables, run.path / "results", run)
    return Finished(prepared, done, queue.failed, len(prepared.units) - len(done) - len(queue.failed), tables)


def _do_units(
    prepared: Prepared, queue: Queue, device: str, workers: int | None, settle: Callable[[Event], None]
) -> None:
    from mossa.pipeline.local import run_here, run_in_processes  # torch and the rest, needed from here on

    study, run, marks = prepared.study, prepared.run, prepared.fingerprints
    devices, threads = choose_devices(study, device, workers)
    devices = devices[: len(queue.todo)]
    if len(devices) == 1:
        run_here(study, run, queue, marks, devices[0], threads, prepared.tasks, settle)
    else:
        run_in_processes(study, run, queue, marks, devices, threads, settle)


def choose_devices(study: Study, device: str, workers: int | None) -> tuple[list[str], int]:
    """Return the device of each worker, and the threads of each.

    A small base in a local folder gets one thread, whose sums are the same to the bit however many processes share the
    work; a larger one gets the cores divided by the workers. Raises `StudyError` for a device that is not there.
    """
    import torch

    if workers is not None and workers < 1:
        raise StudyError(f"--workers {workers}: give 1 or more.")
    device = find_device(device)
    gpus = torch.cuda.device_count()
    if device == "cuda":
        return [f"cuda:{number % gpus}" for number in range(workers or gpus)], 1
    cores = len(os.sched_getaffinity(0))
    small = _weight_bytes(study) < SMALL_BASE
    count = workers or (cores if small and device == "cpu" else 1)
    return [device] * count, 1 if small else max(1, cores // count)


def _settle(
    outcome: Outcome, queue: Queue, done: list[str], units: dict[str, Unit], say: Callable[[str], None]
) -> None:
    name = outcome.identifier
    if outcome.state == "done":
        queue.done(name)
        done.append(name)
    elif outcome.state == "damaged":
        say(f"{units[outcome.damaged].title} is damaged and will be done again: {outcome.reason}")
        queue.again(name, outcome.damaged)
    else:
        blocked = Counter(units[other].step for other in queue.fail(name, outcome.reason))
        after = ", ".join(f"{count} x {step}" for step, count in blocked.items())
        say(f"{units[name].title} failed: {outcome.reason}" + (f" (so these are left out: {after})" if after else ""))


def _find_damage(prepared: Prepared) -> dict[str, str]:
    """Return the landed units whose small files are not as they were written, and what is wrong with them."""
    found: dict[str, str] = {}
    for name in prepared.units:
        manifest = prepared.run.manifest(name)
        if manifest is None or prepared.status[name].state != "done":
            continue
        if sum(size for size, _ in manifest["files"].values()) <= CHECKED_AT_START:
            damage = prepared.run.damage(name)
            if damage:
                found[name] = damage
    return found


def _write_resolved(study: Study, run: RunFolder) -> None:
    with run.writing():
        temporary = run.path / "study.yaml.partial"
        temporary.write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        temporary.replace(run.path / "study.yaml")


def _weight_bytes(study: Study) -> int:
    folder = Path(study.base.model)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else SMALL_BASE
