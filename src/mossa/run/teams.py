"""Which idle worker does what: one unit each, or one training of a mixture that several do together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from mossa.errors import StudyError
from mossa.run.queue import Queue
from mossa.steps.job import WHOLE, Share
from mossa.units.unit import Unit

PATIENCE = 20.0  # seconds in which the others of a team must notice that a worker is gone


class Worker:
    """What an engine knows of a worker: the unit it has, its share of it, and the model that it has loaded."""

    def __init__(self) -> None:
        self.forget()

    @property
    def idle(self) -> bool:
        """Tell whether it can be given a unit now."""
        return self.unit is None

    def take(self, unit: Unit, share: Share) -> None:
        """Note what it is given."""
        self.unit, self.share, self.loaded = unit, share, unit.model

    def forget(self) -> None:
        """Note that its process is new: it has no unit and no model."""
        self.unit: Unit | None = None
        self.share = WHOLE
        self.loaded: str | None = None


W = TypeVar("W", bound=Worker)


class Teams(Generic[W]):
    """Gives units to idle workers; a training of a mixture waits until `size` of them are idle and goes to them all."""

    def __init__(self, queue: Queue, size: int, meeting: Callable[[], Path] = Path) -> None:
        self.queue, self.size, self.meeting = queue, size, meeting  # a new file for every team
        self.unit: Unit | None = None  # the training that waits
        self.waiting: list[W] = []  # the workers that wait with it
        self.ends: dict[int, tuple[W, Unit, float]] = {}  # of broken teams, and when they must have noticed

    def give(self, crew: Sequence[W]) -> Iterator[tuple[W, Unit, Share]]:
        """Yield what the idle workers of `crew` are to do; each must have its unit before the next is asked for."""
        for worker in crew:
            if not worker.idle or worker in self.waiting:
                continue
            if self.unit is None:
                unit = self.queue.next(worker.loaded)
                if unit is None:
                    return
                if self.size == 1 or not is_shared(unit):
                    yield worker, unit, WHOLE
                    continue
                self.unit = unit
            self.waiting.append(worker)
            if len(self.waiting) == self.size:
                yield from self._start()
        if self.unit and len(self.waiting) == len(crew):  # fewer workers are left than there were
            yield from self._start()

    def broken(self, worker: W, crew: Sequence[W]) -> None:
        """Note that `worker` has left its team: the others have a moment to notice and to write where they stand."""
        if worker.share.size > 1:
            for other in crew:
                if other is not worker and other.unit and other.share.meeting == worker.share.meeting:
                    self.ends[id(other)] = (other, other.unit, time.monotonic() + PATIENCE)

    def overdue(self) -> list[W]:
        """Return the workers of broken teams that have not noticed; each is returned once."""
        now = time.monotonic()
        self.ends = {key: end for key, end in self.ends.items() if end[0].unit is end[1]}
        late = [worker for worker, _, end in self.ends.values() if now > end]
        self.ends = {key: end for key, end in self.ends.items() if now <= end[2]}
        return late

    def _start(self) -> Iterator[tuple[W, Unit, Share]]:
        assert self.unit
        size, meeting = len(self.waiting), self.meeting()
        team, unit = self.waiting, self.unit
        self.unit, self.waiting = None, []
        for rank, worker in enumerate(team):
            yield worker, unit, Share(rank, size, meeting) if size > 1 else WHOLE


def is_shared(unit: Unit) -> bool:
    """Tell whether several workers may do this unit together: it trains on a mixture."""
    return unit.step == "train" and unit.settings.get("role") == "experimental"


def check_size(size: int, workers: int) -> None:
    """Check that there are workers for a team; raises `StudyError`."""
    if size > workers:
        raise StudyError(
            f"--data-parallel {size}: there {'is 1 worker' if workers == 1 else f'are {workers} workers'}, and each "
            f"takes part of the batch. Add --workers {size}, or give {workers} or less."
        )
