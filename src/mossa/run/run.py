"""Runs a study: plans, does what is missing or changed, gathers the tables, writes the report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mossa.errors import MossaError
from mossa.models.access import check_access
from mossa.models.dtype import settled
from mossa.models.quantise import check_quantiser
from mossa.models.rendering import Rendering, check_same_tokens, otherwise, render
from mossa.run.devices import find_device
from mossa.run.engines.registry import import_for_workers
from mossa.run.engines.runners import at_work
from mossa.run.events import Event, Outcome
from mossa.run.libraries import importing
from mossa.run.options import RunOptions
from mossa.run.queue import Queue, needed
from mossa.run.rehearsal import needs_rehearsal, rehearse
from mossa.steps.job import Job
from mossa.store.folder import RunFolder, Status
from mossa.store.record import Record, planned_base, recorded_rendering, write_record
from mossa.store.tables import gather, is_gathered, mark_gathered, write_tables
from mossa.study.schema import StudySettings
from mossa.tasks.collections import load_tasks
from mossa.tasks.task import Task
from mossa.units.models import rendered_from
from mossa.units.plan import SHOWN_PROMPTS, plan
from mossa.units.unit import Unit, fingerprints

if TYPE_CHECKING:
    import pandas as pd

CHECKED_AT_START = 64_000_000  # bytes; larger files are checked when they are read
REHEARSED = ".rehearsed"  # in the run folder: what was rehearsed last


@dataclass(frozen=True, slots=True)
class Prepared:
    """A study ready to run: its tasks, its units in order, their fingerprints and where each stands."""

    study: StudySettings
    tasks: list[Task]
    run: RunFolder
    units: dict[str, Unit]
    fingerprints: dict[str, str]
    status: dict[str, Status]
    rendering: Rendering
    note: str = ""  # what was decided for the study where it says `auto`

    @property
    def plan(self) -> str:
        """Return a hash of all units with their fingerprints."""
        return hashlib.sha256("\n".join(self.fingerprints.values()).encode()).hexdigest()

    @property
    def record(self) -> Record:
        """Return what stays of this in the run folder."""
        shown = {task.name: [(each.prompt, each.target) for each in task.test[:SHOWN_PROMPTS]] for task in self.tasks}
        return Record(self.study, self.run, self.units, self.fingerprints, shown, self.rendering)

    def gather(self) -> dict[str, pd.DataFrame]:
        """Return the tables of all units that are done."""
        return gather(self.run, self.units, self.fingerprints)

    @property
    def todo(self) -> list[str]:
        """Return the ids of the units that a run would do, in order; what depends on one of them is among them."""
        return needed(self.units, {name for name, status in self.status.items() if status.state != "done"})

    def damaged(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of the landed units whose small files are not as they were written, and what is wrong."""
        done = [name for name in names if self.status[name].state == "done"]
        found = {name: self.run.damage(name, most=CHECKED_AT_START) for name in done}
        return {name: what for name, what in found.items() if what}


@dataclass(frozen=True)
class Finished:
    """What a run did: units done in this run, failed (with the reason), and `kept`: those that others did.

    `gathered` holds the tables if this run has put them together, None if they were there already, from the same units.
    `elsewhere`: it was another shard, which has concluded too.
    """

    prepared: Prepared
    done: list[str]
    failed: dict[str, str]
    kept: int
    gathered: dict[str, pd.DataFrame] | None = None
    elsewhere: bool = False

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables; read from the units now, if this run has not put them together."""
        return self.prepared.gather() if self.gathered is None else self.gathered


def prepare(study: StudySettings, runs: Path, steps: Collection[str] | None = None) -> Prepared:
    """Load the tasks, plan the units and look where each stands; nothing is written.

    With `steps`, only the units of these steps, which must not read those of others. Raises `MossaError` for whatever
    is wrong with the study.
    """
    check_access(study.base)
    run = RunFolder(runs / study.name)
    base, note = settled(study.base, planned_base(run.path) if study.base.dtype == "auto" else None)
    study = study.model_copy(update={"base": base})
    tasks = load_tasks(study.tasks)
    rendering = recorded_rendering(run, rendered_from(study)) or _render(study)
    units = {name: unit for name, unit in plan(study, tasks, rendering).items() if steps is None or unit.step in steps}
    marks = fingerprints(units)
    return Prepared(study, tasks, run, units, marks, _statuses(run, units, marks), rendering, note)


def prepare_to_run(study: StudySettings, runs: Path, options: RunOptions) -> Prepared:
    """Return what `prepare` does; where nothing was run yet, the workers' libraries are imported meanwhile."""
    with suppress(MossaError):  # `prepare` says what is wrong, in its order
        if recorded_rendering(RunFolder(runs / study.name), rendered_from(study)) is None:
            import_for_workers(study, len(study.experimental) + 1, options)  # a study has as many units at least
    return prepare(study, runs)


def _render(study: StudySettings) -> Rendering:
    """Render what stands around the prompts of a study, now."""
    with importing():
        from mossa.models.base import load_tokenizer  # torch

    return render(load_tokenizer(study.base), study.prompt, rendered_from(study))


def _statuses(run: RunFolder, units: dict[str, Unit], marks: dict[str, str]) -> dict[str, Status]:
    return {name: run.status(unit, marks[name]) for name, unit in units.items()}


def run_study(
    prepared: Prepared,
    options: RunOptions | None = None,
    on_event: Callable[[Event, Queue], None] | None = None,
    say: Callable[[str], None] = print,
    conclude: Callable[[Finished], None] | None = None,
) -> Finished:
    """Do every unit that is missing or changed, write the tables if they are old or damaged, and `conclude`.

    A unit that fails is marked with its reason and the rest goes on. Of several shards the one that finds the tables
    old writes them and concludes. Raises `RunFolderError` if the folder is in use, of another version or cannot be
    written.
    """
    options = options or RunOptions()
    run, way = prepared.run, options.way
    told: set[str] = set()

    def tell_once(note: str) -> None:
        if note not in told:
            say(note)
        told.add(note)

    mark = _rehearsed(prepared, options, tell_once) if way.here and prepared.todo else None
    with at_work(run, say, prepared.plan if way.shares else None) as runner:
        write_record(prepared.record)
        if mark:
            run.write(run.path / REHEARSED, f"{mark}\n")
        prepared = replace(prepared, status=_statuses(run, prepared.units, prepared.fingerprints))  # now that we are in
        for name, status in prepared.status.items():
            if status.state == "done":
                run.forget_checkpoints(prepared.units[name])
        queue = way.queue(prepared, options, runner, say)
        done: list[str] = []

        def settle(event: Event) -> None:
            if isinstance(event, Outcome):
                for note in event.notes:
                    tell_once(note)
                if event.state == "done":
                    done.append(event.identifier)
                queue.settle(event, say)
            if on_event:
                on_event(event, queue)

        if queue.todo:
            way.work(_job(prepared, say), queue, options, settle, say)
        kept = len(prepared.units) - len(done) - len(queue.failed)
        while not runner.take("tables"):  # until we leave: another shard may be writing them
            time.sleep(1)
        return _concluded(Finished(prepared, done, queue.failed, kept), way.shares, conclude)


def _rehearsed(prepared: Prepared, options: RunOptions, say: Callable[[str], None]) -> str | None:
    """Rehearse once per base, recipe and run folder, before anything is written; return what marks it as done."""
    import_for_workers(prepared.study, len(prepared.todo), options)  # while this process imports and rehearses
    device = find_device(options.device)  # a missing device is reported before anything is written
    if not options.rehearsal:
        return None
    mark = needs_rehearsal(prepared.units, prepared.todo, device, prepared.run.path / REHEARSED)
    if mark:
        say("Rehearsing with the base on two prompts (--no-rehearsal leaves it out).")
        check_quantiser(prepared.study.base)
        rehearse(prepared.study, prepared.tasks, device, say, prepared.rendering)
        from mossa.steps.device import free_cached  # torch, which the rehearsal has imported

        free_cached()  # for the workers, which are other processes
    return mark


def _job(prepared: Prepared, say: Callable[[str], None]) -> Job:
    """Return what every worker is given; raises `MossaError` if prompts would have other tokens than were planned."""
    check_quantiser(prepared.study.base)
    now = _render(prepared.study)
    check_same_tokens(prepared.rendering, now)
    if sentence := otherwise(prepared.rendering, now):
        say(sentence)
    return Job(prepared.study, prepared.tasks, prepared.run, prepared.fingerprints, prepared.rendering)


def _concluded(finished: Finished, shared: bool, conclude: Callable[[Finished], None] | None) -> Finished:
    """Write the tables if they are old or damaged, and `conclude`; of several shards only the one that writes them."""
    run, units, fingerprints = finished.prepared.run, finished.prepared.units, finished.prepared.fingerprints
    there = is_gathered(run, units, fingerprints)
    if there and shared:
        return replace(finished, elsewhere=True)
    if not there:
        finished = replace(finished, gathered=finished.prepared.gather())
        write_tables(finished.tables, run.path / "results", run)
    if conclude:
        conclude(finished)
    if not there:
        mark_gathered(run, units, fingerprints)
    return finished
