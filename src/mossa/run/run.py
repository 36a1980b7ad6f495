"""Runs a study: plans, does what is missing or changed, gathers the tables, writes the report."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mossa.errors import StudyError, choices
from mossa.models.access import check_access
from mossa.models.dtype import settled
from mossa.models.quantise import check_quantiser
from mossa.models.rendering import Rendering, check_same_tokens, otherwise, render
from mossa.run.devices import find_device
from mossa.run.engines.registry import ENGINES, import_for_workers
from mossa.run.engines.runners import Runner, at_work
from mossa.run.engines.shards import SharedQueue, falls_to
from mossa.run.events import Event, Outcome
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


@dataclass(frozen=True, slots=True)
class RunOptions:
    """With what a study is run: nothing here changes a result.

    `device` is auto, cpu, cuda or cuda:i; `workers` defaults to one process per core for a small base on the CPU, one
    per GPU, else one, and `data_parallel` of them share each training of a mixture. `shard` (k, n) makes this run the
    k-th of n that share the folder. `engine` is local or ray, and `address` that of the Ray cluster. `rehearsal`: on
    one machine, try base and recipe on two prompts first. Raises `StudyError` if these do not go together, or Ray is
    not installed.
    """

    device: str = "auto"
    workers: int | None = None
    shard: tuple[int, int] | None = None
    engine: str = "local"
    address: str | None = None
    rehearsal: bool = True
    data_parallel: int = 1

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise StudyError(f"--workers {self.workers}: give 1 or more.")
        if self.data_parallel < 1:
            raise StudyError(f"--data-parallel {self.data_parallel}: give 1 or more.")
        if self.engine not in ENGINES:
            raise StudyError(f"--engine {self.engine}: there is no such engine. {choices(self.engine, ENGINES)}")
        if self.address and self.engine != "ray":
            raise StudyError(f"--address {self.address} is that of a Ray cluster: add --engine ray.")
        if self.shard and self.engine == "ray":
            raise StudyError("--shard and --engine ray are two ways to share the work: give one of them.")
        if self.engine == "ray" and importlib.util.find_spec("ray") is None:
            raise StudyError("--engine ray needs Ray. Install it with: pip install 'mossa[ray]'")


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


def _render(study: StudySettings) -> Rendering:
    """Render what stands around the prompts of a study, now."""
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
    run = prepared.run
    if prepared.todo and options.engine == "local":
        import_for_workers(prepared.study, len(prepared.todo), options)  # while this process imports and rehearses
        find_device(options.device)  # what is not there is said before anything is written
    told: set[str] = set()

    def tell_once(note: str) -> None:
        if note not in told:
            say(note)
        told.add(note)

    mark = _rehearsed(prepared, options, tell_once)
    with at_work(run, prepared.plan, options.shard is None, say) as runner:
        write_record(prepared.record)
        if mark:
            run.write(run.path / REHEARSED, f"{mark}\n")
        prepared = replace(prepared, status=_statuses(run, prepared.units, prepared.fingerprints))  # now that we are in
        for name, status in prepared.status.items():
            if status.state == "done":
                run.forget_checkpoints(prepared.units[name])
        queue = _shared_queue(prepared, options.shard, runner, say) if options.shard else _queue(prepared, say)
        done: list[str] = []

        def settle(event: Event) -> None:
            if isinstance(event, Outcome):
                for note in event.notes:
                    tell_once(note)
                _settle(event, queue, done, prepared.units, say)
            if on_event:
                on_event(event, queue)

        if queue.todo:
            check_quantiser(prepared.study.base)
            now = _render(prepared.study)
            check_same_tokens(prepared.rendering, now)
            if sentence := otherwise(prepared.rendering, now):
                say(sentence)
            job = Job(prepared.study, prepared.tasks, run, prepared.fingerprints, prepared.rendering)
            ENGINES[options.engine](job, queue, options, settle, say)
        finished = Finished(prepared, done, queue.failed, len(prepared.units) - len(done) - len(queue.failed))
        with runner.holding("tables"):
            there = is_gathered(run, prepared.units, prepared.fingerprints)
            if there and options.shard:
                return replace(finished, elsewhere=True)
            if not there:
                finished = replace(finished, gathered=prepared.gather())
                write_tables(finished.tables, run.path / "results", run)
            if conclude:
                conclude(finished)
            if not there:
                mark_gathered(run, prepared.units, prepared.fingerprints)
    return finished


def _rehearsed(prepared: Prepared, options: RunOptions, say: Callable[[str], None]) -> str | None:
    """Rehearse once per base, recipe and run folder, before anything is written; return what marks it as done."""
    if not options.rehearsal or options.engine != "local" or not prepared.todo:
        return None
    device = find_device(options.device)
    mark = needs_rehearsal(prepared.units, prepared.todo, device, prepared.run.path / REHEARSED)
    if mark:
        say("Rehearsing with the base on two prompts (--no-rehearsal leaves it out).")
        check_quantiser(prepared.study.base)
        rehearse(prepared.study, prepared.tasks, device, say, prepared.rendering)
        from mossa.steps.device import free_cached  # torch, which the rehearsal has imported

        free_cached()  # for the workers, which are other processes
    return mark


def _queue(prepared: Prepared, say: Callable[[str], None]) -> Queue:
    """Return what is to do: all that is not done, or is damaged, or is made from that."""
    damaged = _find_damage(prepared, prepared.units)
    for name, what in damaged.items():
        say(f"{prepared.units[name].title} is damaged and will be done again: {what}")
    return Queue(prepared.units, needed(prepared.units, {*prepared.todo, *damaged}))


def _shared_queue(prepared: Prepared, shard: tuple[int, int], runner: Runner, say: Callable[[str], None]) -> Queue:
    """Return all that is not done; damage is looked for, and failures are tried once more, by one shard each."""
    units, status = prepared.units, prepared.status
    mine = [name for name in units if falls_to(name, *shard)]
    damaged = _find_damage(prepared, mine)
    todo = {name for name in units if status[name].state != "done"} | damaged.keys()

    def say_failed(name: str, why: str) -> None:
        say(f"{units[name].title} failed in another shard or an earlier run: {why}")

    queue = SharedQueue(units, todo, prepared.fingerprints, runner, shard[0], say_failed)
    queue.damaged |= damaged.keys()
    queue.retried |= {name for name in mine if status[name].state == "failed"}
    return queue


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


def _find_damage(prepared: Prepared, names: Iterable[str]) -> dict[str, str]:
    """Return those of the landed units whose small files are not as they were written, and what is wrong with them."""
    found: dict[str, str] = {}
    for name in names:
        manifest = prepared.run.manifest(name)
        if manifest is None or prepared.status[name].state != "done":
            continue
        if sum(size for size, _ in manifest["files"].values()) <= CHECKED_AT_START:
            damage = prepared.run.damage(name)
            if damage:
                found[name] = damage
    return found
