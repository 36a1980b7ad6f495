"""How long a study takes on N workers, and where more of them stop helping."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from mossa.run.queue import Queue
from mossa.units.unit import Unit


def makespan(units: dict[str, Unit], todo: Iterable[str], seconds: Mapping[str, float], workers: int) -> float:
    """Return the seconds until the last unit is done, with the run's own queue handing out the units."""
    queue = Queue(units, todo)
    loaded: list[str | None] = [None] * workers
    idle = list(range(workers))
    busy: list[tuple[float, int, str]] = []
    now = 0.0
    while True:
        while idle and (unit := queue.next(loaded[idle[-1]])):
            worker = idle.pop()
            loaded[worker] = unit.model
            heapq.heappush(busy, (now + seconds[unit.id], worker, unit.id))
        if not busy:
            return now
        now, worker, name = heapq.heappop(busy)
        queue.done(name)
        idle.append(worker)


def longest_chain(units: dict[str, Unit], todo: Iterable[str], seconds: Mapping[str, float]) -> tuple[float, list[str]]:
    """Return the seconds of the longest chain of units that wait for each other, and the chain."""
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}
    wanted = set(todo)
    for name, unit in units.items():
        if name in wanted:
            last = max((source for source in unit.inputs if source in ends), key=lambda s: ends[s], default=None)
            before[name] = last
            ends[name] = seconds[name] + (ends[last] if last else 0.0)
    if not ends:
        return 0.0, []
    chain: list[str] = []
    at: str | None = max(ends, key=lambda name: ends[name])
    length = ends[at]
    while at:
        chain.append(at)
        at = before[at]
    return length, chain[::-1]
