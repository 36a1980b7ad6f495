"""What a person sees while a study runs: bars on a terminal, a line per step or half minute elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

from mossa.run.events import Event, Outcome, Started
from mossa.run.queue import Queue
from mossa.run.run import Finished, Means, Prepared, run_study

SILENCE = 30.0
"""Seconds after which a log gets a line although no step has ended."""


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


class Display:
    """Shows what the engine does; `total` is the number of units this run will do."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.finished = console, total, 0
        self.bars: Progress | None = None
        self.overall = TaskID(0)
        self.rows: dict[str, TaskID] = {}
        self.started = self.told = time.monotonic()
        self.seconds: dict[str, list[float]] = {}
        self.counts: dict[str, Counter[str]] = {}

    def event(self, event: Event, queue: Queue) -> None:
        """Show one event."""
        if isinstance(event, Outcome):
            if event.state == "damaged":
                self.total = self.finished + len(queue.todo)
            self.finished = self.total - len(queue.todo)  # so what other shards did is counted, and what is left out
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

    def say(self, message: str) -> None:
        """Print a line without disturbing the bars."""
        self.console.print(message, style="yellow", highlight=False, markup=False)

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show bars for the length of the block if there is a terminal and something to do."""
        if not (self.console.is_terminal and self.total):
            yield
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

    def _line(self, outcome: Outcome, queue: Queue) -> None:
        """Say how far a step is, if it has ended or nothing was said for a while."""
        if outcome.state != "done":
            return  # said by the run itself, with its reason
        step = queue.units[outcome.identifier].step
        self.seconds.setdefault(step, []).append(outcome.seconds)
        self.counts.setdefault(step, Counter()).update(outcome.counts)
        left = Counter(queue.units[name].step for name in queue.todo)
        if left[step] and time.monotonic() - self.told < SILENCE:
            return
        self.told = time.monotonic()
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts[step].items() if count)
        line = f"[{self.finished}/{self.total}] {step}: {len(self.seconds[step])} done, {left[step]} left"
        line += (f" ({counts})" if counts else "") + self._remaining(left)
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _remaining(self, left: Counter[str]) -> str:
        """Say how long the rest takes if each step goes on as its units did so far; `at least` until each was seen."""
        known = {step: count for step, count in left.items() if step in self.seconds}
        work = sum(count * sum(self.seconds[step]) / len(self.seconds[step]) for step, count in known.items())
        spent = sum(map(sum, self.seconds.values()))
        if not spent or not left:
            return ""
        about = "about" if len(known) == len(left) else "at least"
        return f", {about} {work / spent * (time.monotonic() - self.started):.0f} s left"

    def _remove(self, identifier: str) -> None:
        if self.bars is not None and identifier in self.rows:
            self.bars.remove_task(self.rows.pop(identifier))
