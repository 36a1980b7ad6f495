"""How long a study takes on N workers, and where more of them stop helping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mossa.run.queue import Queue
from mossa.run.teams import Teams
from mossa.steps.job import Share
from mossa.units.unit import Unit


@dataclass(eq=False, slots=True)
class _Worker:
    unit: Unit | None = None
    share: Share | None = None
    loaded: str | None = None

    @property
    def idle(self) -> bool:
        return self.unit is None


def makespan(
    units: dict[str, Unit], todo: Iterable[str], seconds: Mapping[str, float], workers: int, data_parallel: int = 1
) -> float:
    """Return the seconds until the last unit is done, with units handed out as a run does it.

    A training that `data_parallel` workers share takes that much less time; what they send each other is not counted.
    """
    queue = Queue(units, todo)
    crew = [_Worker() for _ in range(workers)]
    teams = Teams[_Worker](queue, min(data_parallel, workers))
    busy: list[tuple[float, int, list[_Worker]]] = []  # when it ends, a number that breaks ties, the team
    now, number = 0.0, 0
    while True:
        for worker, unit, share in teams.give(crew):
            worker.unit, worker.share, worker.loaded = unit, share, unit.model
            if share and share.rank:
                busy[-1][2].append(worker)
                continue
            number += 1
            busy.append((now + seconds[unit.id] / (share.size if share else 1), number, [worker]))
        if not busy:
            return now
        ended = min(busy)
        busy.remove(ended)
        now, _, team = ended
        queue.done(team[0].unit.id if team[0].unit else "")
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
