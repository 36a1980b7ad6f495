"""Runs one training of a study, and one extraction and one evaluation of its model, to estimate the rest from them."""

from __future__ import annotations

from collections.abc import Callable

from mossa.cost.estimate import CostEstimate
from mossa.errors import StudyError
from mossa.run.engines.registry import choose_devices
from mossa.run.engines.runners import at_work
from mossa.run.events import Event, Outcome
from mossa.run.queue import Queue
from mossa.run.run import Prepared
from mossa.store.record import write_record


def chosen_units(estimate: CostEstimate) -> list[str]:
    """Return the unfinished training of median work, and one extraction and one evaluation of its model."""
    todo = [name for name in estimate.todo if estimate.units[name].step == "train"]
    if not todo:
        return []
    middle = sorted(todo, key=lambda name: estimate.works[name].operations)[(len(todo) - 1) // 2]
    chosen = [middle]
    for step in ("represent", "evaluate"):
        of = [name for name in estimate.todo if name.startswith(f"{step}/") and middle in estimate.units[name].inputs]
        chosen += of[:1]
    return chosen


def calibrate(prepared: Prepared, estimate: CostEstimate, say: Callable[[str], None]) -> None:
    """Run the unfinished training of median work, then represent and evaluate its model on one task; results are kept.

    Raises `StudyError` if one of them fails.
    """
    from mossa.run.engines.local import run_here
    from mossa.steps.job import Job

    chosen = chosen_units(estimate)
    if not chosen:
        return

    def settle(event: Event) -> None:
        if isinstance(event, Outcome):
            if event.state != "done":
                raise StudyError(f"{estimate.units[event.identifier].title} {event.state}: {event.reason}")
            queue.done(event.identifier)
            say(f"{estimate.units[event.identifier].title}: {event.seconds:,.1f} s")

    job = Job(prepared.study, prepared.tasks, prepared.run, prepared.fingerprints, prepared.rendering)
    with at_work(prepared.run, say):
        write_record(prepared.record)  # what was rendered for this training is what the run goes on with
        queue = Queue(prepared.units, chosen)
        devices, threads = choose_devices(prepared.study, "auto", 1)
        run_here(job, queue, devices[0], threads, settle)
