"""How long a study takes on N workers, and where more of them stop helping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mossa.run.queue import Queue
from mossa.run.teams import Teams, Worker
from mossa.units.unit import Unit


def makespan(
    units: dict[str, Unit], todo: Iterable[str], seconds: Mapping[str, float], workers: int, data_parallel: int = 1
) -> float:
    """Return the seconds until the last unit is done, with units handed out as a run does it.

    A training that `data_parallel` workers share takes that much less time; what they send each other is not counted.
    """
    queue = Queue(units, todo)
    crew = [Worker() for _ in range(workers)]
    teams = Teams[Worker](queue, min(data_parallel, workers))
    busy: list[tuple[float, int, str, list[Worker]]] = []  # when it ends, a number that breaks ties, the unit, its team
    now, number = 0.0, 0
    while True:
        for worker, unit, share in teams.give(crew):
            worker.take(unit, share)
            if share.rank:
                busy[-1][-1].append(worker)
                continue
            number += 1
            busy.append((now + seconds[unit.id] / share.size, number, unit.id, [worker]))
        if not busy:
            return now
        ended = min(busy)
        busy.remove(ended)
        now, _, name, team = ended
        queue.done(name)
        for worker in team:
            worker.unit = None


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
