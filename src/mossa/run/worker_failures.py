"""What becomes of a unit whose worker died during it, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable

from mossa.run.events import Event, Outcome
from mossa.run.queue import Queue
from mossa.steps.job import WHOLE, Job, Share
from mossa.units.unit import Unit

MOST_FAILURES = 3  # of a worker over one unit, before the unit counts as failed


class WorkerFailures:
    """Counts which units cost how many workers; `on_event` hears how those end, `say` what happened."""

    def __init__(self, job: Job, queue: Queue, on_event: Callable[[Event], None], say: Callable[[str], None]) -> None:
        self.job, self.queue, self.on_event, self.say = job, queue, on_event, say
        self.count: dict[str, int] = {}

    def over(self, unit: Unit, how: str, share: Share = WHOLE) -> None:
        """Settle a unit whose worker died: it had landed already, is tried again, or has cost too many workers.

        Where the worker had a share of it, the first of the team tells what becomes of the unit.
        """
        if share.rank:
            self.say(f"A worker that shared {unit.title} died ({how}). It is replaced.")
            return
        run, mark = self.job.run, self.job.marks[unit.id]
        run.clear_unit(unit, mark)
        manifest = run.manifest(unit.id)
        if manifest and run.damage(unit.id, mark) is None:
            self.say(f"A worker died when {unit.title} was done ({how}). It is replaced.")
            self.on_event(Outcome(unit.id, "done", seconds=manifest["seconds"], counts=manifest["counts"]))
        else:
            self._again(
                unit, how, f"A worker died during {unit.title} ({how}). It is replaced, and the unit done again."
            )

    def settle(self, outcome: Outcome, unit: Unit) -> None:
        """Settle how a unit ended; one that lost a worker of its team goes on with another."""
        if outcome.state == "lost":
            self._again(unit, outcome.reason, f"{unit.title} goes on from the last step that all of its workers took.")
        elif outcome.state != "helped":
            self.on_event(outcome)

    def _again(self, unit: Unit, how: str, told: str) -> None:
        self.count[unit.id] = self.count.get(unit.id, 0) + 1
        if self.count[unit.id] < MOST_FAILURES:
            self.say(told)
            self.queue.again(unit.id)
            return
        reason = f"its worker died {self.count[unit.id]} times ({how})"
        self.job.run.record_failure(unit, self.job.marks[unit.id], reason)
        self.on_event(Outcome(unit.id, "failed", reason))
