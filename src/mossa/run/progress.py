"""What a person sees while a study runs: bars on a terminal, few lines in a log.

In a log a step of the study has a line when it ends, and one per half minute before; a long unit has one a minute.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from mossa.run.events import Advanced, Event, Outcome, Started
from mossa.run.options import RunOptions
from mossa.run.queue import Queue
from mossa.run.run import Finished, Prepared, run_study
from mossa.units.unit import Unit

EVERY = 60.0  # seconds between two lines of a log about one unit
SILENCE = 30.0  # seconds after which a unit that ends gets its step a line although more of the step are left


def run_shown(
    console: Console, prepared: Prepared, options: RunOptions, conclude: Callable[[Finished], None] | None = None
) -> Finished:
    """Do what is left of a study, as `run_study` does, and show how it goes and what was done."""
    todo = len(prepared.todo)
    display = Display(console, todo)
    if prepared.note:
        console.print(prepared.note, highlight=False, markup=False)
    console.print(
        f"{prepared.study.name}: {len(prepared.units)} units, {len(prepared.units) - todo} done already, {todo} to do.",
        highlight=False,
    )

    def ended(finished: Finished) -> None:
        _say_finished(console, finished)
        if conclude:
            conclude(finished)

    with display.showing():
        finished = run_study(prepared, options, display.event, display.say, ended)
    if finished.elsewhere:  # another shard has concluded
        _say_finished(console, finished)
    return finished


def _say_finished(console: Console, finished: Finished) -> None:
    """Say what a run did and where its tables are."""
    if not finished.done and not finished.failed:
        console.print("Nothing to do: every unit is done and nothing has changed.", highlight=False)
    else:
        console.print(
            f"{len(finished.done)} units done, {finished.kept} kept from before, {len(finished.failed)} failed.",
            highlight=False,
        )
    if finished.elsewhere:
        console.print("Another shard has written tables and report.", highlight=False)
    console.print(f"Tables: {finished.prepared.run.path / 'results'}", highlight=False, markup=False)


def _kind(unit: Unit) -> tuple[str, str]:
    """Return what units have in common that take about as long: a mixture trains longer than a control."""
    return unit.step, str(unit.settings.get("role", ""))


def _counted(queue: Queue) -> str:
    """Say how many units of each step are done, of those that this study has."""
    total = Counter(unit.step for unit in queue.units.values())
    left = Counter(queue.units[name].step for name in queue.todo)
    return ", ".join(f"{step} {count - left[step]}/{count}" for step, count in total.items() if left[step])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass
class _UnderWay:
    """A unit in progress: since when, how far it is, and how far it was when that was first told."""

    unit: Unit
    since: float
    shown: float
    first: tuple[float, int] | None = None
    at: Advanced | None = None

    def advance(self, event: Advanced, now: float) -> None:
        """Take in how far it is."""
        self.first, self.at = self.first or (now, event.done), event

    def line(self, now: float) -> str:
        """Return what a log says of it."""
        if self.at is None or self.first is None:
            return f"{self.unit.title}: at work for {_duration(now - self.since)}"
        start, begun = self.first
        what = "step " if self.unit.step == "train" else ""
        line = f"{self.unit.title}: {what}{self.at.done} of {self.at.total}"
        line += f", loss {self.at.loss:.4f}" if self.at.loss is not None else ""
        if self.at.done > begun:
            line += f", about {_duration((now - start) / (self.at.done - begun) * (self.at.total - self.at.done))} left"
        return line


class Display:
    """Shows what the engine does; `total` is the number of units this run will do."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.finished = console, total, 0
        self.bars: Progress | None = None
        self.overall = TaskID(0)
        self.rows: dict[str, TaskID] = {}
        self.under_way: dict[str, _UnderWay] = {}
        self.started = self.told = time.monotonic()
        self.seconds: dict[tuple[str, str], list[float]] = {}  # of done units of each kind
        self.counts: dict[str, Counter[str]] = {}

    def event(self, event: Event, queue: Queue) -> None:
        """Show one event."""
        if isinstance(event, Outcome):
            self._ended(event, queue)
        elif isinstance(event, Started):
            self._begun(event.unit)
        elif self.bars is not None and event.identifier in self.rows:
            self.bars.update(self.rows[event.identifier], completed=event.done, total=event.total)
        elif event.identifier in self.under_way:
            self.under_way[event.identifier].advance(event, time.monotonic())

    def say(self, message: str) -> None:
        """Print a line without disturbing the bars."""
        self.console.print(message, style="yellow", highlight=False, markup=False)

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show bars for the length of the block; without a terminal, a line a minute for each unit under way."""
        if not self.total:
            yield
            return
        if not self.console.is_terminal:
            ended = threading.Event()
            clock = threading.Thread(target=self._watch, args=(ended,), daemon=True)
            clock.start()
            try:
                yield
            finally:
                ended.set()
                clock.join()
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as self.bars:
            self.overall = self.bars.add_task("units", total=self.total)
            yield
        self.bars = None

    def tick(self) -> None:
        """Say how far each unit is that had no line for a minute, also one that reports nothing itself."""
        now = time.monotonic()
        for under_way in list(self.under_way.values()):
            if now - under_way.shown >= EVERY:
                under_way.shown = now
                self.console.print(under_way.line(now), highlight=False, markup=False, soft_wrap=True)

    def _watch(self, ended: threading.Event) -> None:
        """Tick until the end; in a thread of its own, for the engine waits or works."""
        while not ended.wait(min(1.0, EVERY)):
            self.tick()

    def _begun(self, unit: Unit) -> None:
        if not (self.seconds or self.rows or self.under_way):
            self.started = time.monotonic()  # what went before, such as loading, is not how fast units go
        now = time.monotonic()
        self.under_way[unit.id] = _UnderWay(unit, now, now)
        if self.bars is not None:
            self.rows[unit.id] = self.bars.add_task(unit.title, total=None)

    def _ended(self, outcome: Outcome, queue: Queue) -> None:
        if outcome.state == "damaged":
            self.total = self.finished + len(queue.todo)
        self.finished = self.total - len(queue.todo)  # so what other shards did is counted, and what is left out
        if outcome.state == "done":
            self.seconds.setdefault(_kind(queue.units[outcome.identifier]), []).append(outcome.seconds)
        self.under_way.pop(outcome.identifier, None)
        if self.bars is None:
            self._line(outcome, queue)
            return
        if outcome.identifier in self.rows:
            self.bars.remove_task(self.rows.pop(outcome.identifier))
        said = f"units{self._remaining(queue)}; {_counted(queue)}"
        self.bars.update(self.overall, completed=self.finished, total=self.total, description=said)

    def _line(self, outcome: Outcome, queue: Queue) -> None:
        """Say how far a step is, if it has ended or had no line for a while."""
        if outcome.state != "done":
            return  # said by the run itself, with its reason
        step = queue.units[outcome.identifier].step
        self.counts.setdefault(step, Counter()).update(outcome.counts)
        left = sum(queue.units[name].step == step for name in queue.todo)
        if left and time.monotonic() - self.told < SILENCE:
            return
        self.told = time.monotonic()
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts[step].items() if count)
        done = sum(len(seconds) for (other, _), seconds in self.seconds.items() if other == step)
        line = f"[{self.finished}/{self.total}] {step}: {done} done, {left} left"
        line += (f" ({counts})" if counts else "") + self._remaining(queue)
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _remaining(self, queue: Queue) -> str:
        """Say how long the rest takes if units go on as those of their kind did so far, and what that leaves out."""
        left = Counter(_kind(queue.units[name]) for name in queue.todo)
        typical = {kind: sum(those) / len(those) for kind, those in self.seconds.items()}
        work = sum(count * typical.get(kind, 0.0) for kind, count in left.items())
        now = time.monotonic()
        # Units under way count as well: of two workers, one may have ended nothing yet.
        spent = sum(map(sum, self.seconds.values())) + sum(now - each.since for each in self.under_way.values())
        if not work or not spent:
            return ""
        unknown = sorted(f"{step} ({role})" if role else step for step, role in left.keys() - typical.keys())
        without = f", not counting {', '.join(unknown)}" if unknown else ""
        return f", about {_duration(work / spent * (now - self.started))} left{without}"
