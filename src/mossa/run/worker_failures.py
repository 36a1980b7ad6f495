"""What becomes of a unit whose worker died over it, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable

from mossa.run.events import Event, Outcome
from mossa.run.queue import Queue
from mossa.steps.job import Job
from mossa.units.unit import Unit

MOST_FAILURES = 3  # of a worker over one unit, before the unit counts as failed


class WorkerFailures:
    """Counts which units cost how many workers; `on_event` hears how those end, `say` what happened."""

    def __init__(self, job: Job, queue: Queue, on_event: Callable[[Event], None], say: Callable[[str], None]) -> None:
        self.job, self.queue, self.on_event, self.say = job, queue, on_event, say
        self.count: dict[str, int] = {}

    def over(self, unit: Unit, how: str) -> None:
        """Settle a unit: it had landed already, is tried again, or fails for having cost too many workers."""
        run, mark = self.job.run, self.job.marks[unit.id]
        run.clear_unit(unit, mark)
        manifest = run.manifest(unit.id)
        if manifest and run.damage(unit.id, mark) is None:
            self.say(f"A worker died when {unit.title} was done ({how}). It is replaced.")
            self.on_event(Outcome(unit.id, "done", seconds=manifest["seconds"], counts=manifest["counts"]))
            return
        self.count[unit.id] = self.count.get(unit.id, 0) + 1
        if self.count[unit.id] < MOST_FAILURES:
            self.say(f"A worker died over {unit.title} ({how}). It is replaced, and the unit done again.")
            self.queue.again(unit.id)
            return
        reason = f"its worker died {self.count[unit.id]} times ({how})"
        run.record_failure(unit, mark, reason)
        self.on_event(Outcome(unit.id, "failed", reason))
