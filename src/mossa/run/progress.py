"""What a person sees while a study runs: bars on a terminal; elsewhere a line per unit, and one a minute meanwhile."""

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
    TimeRemainingColumn,
)

from mossa.run.events import Advanced, Event, Outcome, Started
from mossa.run.queue import Queue
from mossa.run.run import Finished, Means, Prepared, run_study
from mossa.units.unit import Unit

EVERY = 60.0  # seconds between two lines about a unit, outside a terminal


def run_shown(
    console: Console, prepared: Prepared, means: Means, conclude: Callable[[Finished], None] | None = None
) -> Finished:
    """Do what is left of a study, as `run_study` does, and show how it goes and what was done."""
    todo = len(prepared.todo)
    display = Display(console, todo)
    console.print(
        f"{prepared.study.name}: {len(prepared.units)} units, {len(prepared.units) - todo} done already, {todo} to do.",
        highlight=False,
    )

    def ended(finished: Finished) -> None:
        _say_finished(console, finished)
        if conclude:
            conclude(finished)

    with display.showing():
        finished = run_study(prepared, means, display.event, display.say, ended)
    if finished.tables is None:  # another shard has concluded
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
    if finished.tables is None:
        console.print("Another shard has written tables and report.", highlight=False)
    console.print(f"Tables: {finished.prepared.run.path / 'results'}", highlight=False, markup=False)


@dataclass
class _UnderWay:
    """A unit that somebody is doing: since when, how far it is, and how far it was when that was first told."""

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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display:
    """Shows what the engine does; `total` is the number of units this run will do."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.finished = console, total, 0
        self.bars: Progress | None = None
        self.overall = TaskID(0)
        self.rows: dict[str, TaskID] = {}
        self.under_way: dict[str, _UnderWay] = {}
        self.started = time.monotonic()
        self.seconds: dict[str, list[float]] = {}

    def event(self, event: Event, queue: Queue) -> None:
        """Show one event."""
        if isinstance(event, Outcome):
            if event.state == "damaged":
                self.total = self.finished + len(queue.todo)
            self.finished = self.total - len(queue.todo)  # so what other shards did is counted, and what is left out
            self.under_way.pop(event.identifier, None)
            if self.bars is None:
                self._line(event, queue)
            else:
                self._remove(event.identifier)
                self.bars.update(self.overall, completed=self.finished, total=self.total)
        elif self.bars is not None:
            if isinstance(event, Started):
                self.rows[event.unit.id] = self.bars.add_task(event.unit.title, total=None)
            elif event.identifier in self.rows:
                self.bars.update(self.rows[event.identifier], completed=event.done, total=event.total)
        elif isinstance(event, Started):
            now = time.monotonic()
            self.under_way[event.unit.id] = _UnderWay(event.unit, now, now)
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
            clock = threading.Thread(target=self._tick, args=(ended,), daemon=True)
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
        with Progress(*columns, TimeRemainingColumn(compact=True), console=self.console, transient=True) as self.bars:
            self.overall = self.bars.add_task("units", total=self.total)
            yield
        self.bars = None

    def _tick(self, ended: threading.Event) -> None:
        """Say how far each long unit is, also one that tells nothing; in a thread, for the engine waits or works."""
        while not ended.wait(min(1.0, EVERY)):
            now = time.monotonic()
            for under_way in list(self.under_way.values()):
                if now - under_way.shown >= EVERY:
                    under_way.shown = now
                    self.console.print(under_way.line(now), highlight=False, markup=False, soft_wrap=True)

    def _line(self, outcome: Outcome, queue: Queue) -> None:
        if outcome.state != "done":
            return  # said by the run itself, with its reason
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcome.counts.items() if count)
        unit = queue.units[outcome.identifier]
        self.seconds.setdefault(unit.step, []).append(outcome.seconds)
        line = f"[{self.finished}/{self.total}] {unit.title}: {outcome.seconds:.1f} s"
        line += (f" ({counts})" if counts else "") + self._remaining(queue)
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _remaining(self, queue: Queue) -> str:
        """Say how long the rest takes if each step goes on as its units did so far; nothing until each was seen."""
        left = Counter(queue.units[name].step for name in queue.todo)
        if not left or any(step not in self.seconds for step in left):
            return ""
        work = sum(count * sum(self.seconds[step]) / len(self.seconds[step]) for step, count in left.items())
        spent = sum(map(sum, self.seconds.values()))
        return f", about {work / spent * (time.monotonic() - self.started):.0f} s left" if spent else ""

    def _remove(self, identifier: str) -> None:
        if self.bars is not None and identifier in self.rows:
            self.bars.remove_task(self.rows.pop(identifier))
