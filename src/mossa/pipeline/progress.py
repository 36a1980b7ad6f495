"""What a person sees while a study runs: bars on a terminal, one line per unit elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
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

from mossa.pipeline.local import Advanced, Event, Started
from mossa.pipeline.perform import Outcome
from mossa.pipeline.queue import Queue


class Display:
    """Shows what the engine does; `total` is the number of units this run will do."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.finished = console, total, 0
        self.bars: Progress | None = None
        self.overall = TaskID(0)
        self.rows: dict[str, TaskID] = {}
        self.started = time.monotonic()
        self.seconds: dict[str, list[float]] = {}

    def event(self, event: Event, queue: Queue) -> None:
        """Show one event."""
        if isinstance(event, Outcome):
            self.finished += event.state != "damaged"
            self.total = max(self.total, self.finished + len(queue.todo))
            if self.bars is None:
                self._line(event, queue)
            else:
                self._remove(event.identifier)
                self.bars.update(self.overall, completed=self.finished, total=self.total)
        elif self.bars is not None:
            if isinstance(event, Started):
                self.rows[event.unit.id] = self.bars.add_task(event.unit.title, total=None)
            elif isinstance(event, Advanced) and event.identifier in self.rows:
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
        if outcome.state != "done":
            return  # said by the run itself, with its reason
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcome.counts.items() if count)
        left = len(queue.todo)
        title = queue.units[outcome.identifier].title
        elapsed = time.monotonic() - self.started
        remaining = f", about {elapsed / self.finished * left:.0f} s left" if left else ""
        self.console.print(
            f"[{self.finished}/{self.total}] {title}: {outcome.seconds:.1f} s"
            + (f" ({counts})" if counts else "")
            + remaining,
            highlight=False,
            markup=False,
        )

    def _remove(self, identifier: str) -> None:
        if self.bars is not None and identifier in self.rows:
            self.bars.remove_task(self.rows.pop(identifier))
