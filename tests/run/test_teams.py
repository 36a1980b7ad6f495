"""Idle workers are given units, and a mixture waits until a whole team is idle."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import StudyError
from mossa.run import teams as module
from mossa.run.queue import Queue
from mossa.run.teams import Teams, Worker, check_size, is_shared
from mossa.steps.job import WHOLE, Share
from mossa.units.unit import Unit


def queue_of(kinds: list[bool]) -> Queue:
    """Return a queue of trainings; True: of a mixture."""
    units = [Unit("train", str(n), {"role": "experimental" if kind else "control"}) for n, kind in enumerate(kinds)]
    return Queue({unit.id: unit for unit in units}, [unit.id for unit in units])


def give(teams: Teams[Worker], crew: list[Worker]) -> list[tuple[Worker, Unit, Share]]:
    given_now = []
    for worker, unit, share in teams.give(crew):
        worker.take(unit, share)
        given_now.append((worker, unit, share))
    return given_now


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_unit_is_done_once_and_every_mixture_by_a_whole_team(kinds, workers, size, random) -> None:
    names = itertools.count()
    queue, crew = queue_of(kinds), [Worker() for _ in range(workers)]
    teams = Teams[Worker](queue, min(size, workers), lambda: Path(f"meeting-{next(names)}"))
    done: list[str] = []
    while queue.todo:
        for _, unit, share in give(teams, crew):
            assert (share.size > 1) == (is_shared(unit) and min(size, workers) > 1)
        busy = [worker for worker in crew if worker.unit]
        assert busy, "nothing is under way and units are left"
        unit = random.choice(busy).unit
        assert unit is not None
        team = [worker for worker in crew if worker.unit is unit]
        expected = min(size, workers) if is_shared(unit) else 1
        assert len(team) == expected
        if expected > 1:
            assert sorted(worker.share.rank for worker in team) == list(range(expected))
            assert len({worker.share.meeting for worker in team}) == 1
        for worker in team:
            worker.unit = None
        queue.done(unit.id)
        done.append(unit.id)
    assert sorted(done) == sorted(queue.units)


def test_a_team_is_smaller_when_fewer_workers_are_left() -> None:
    crew = [Worker(), Worker(), Worker()]
    teams = Teams[Worker](queue_of([False, True]), 3, lambda: Path("m"))
    assert [share for *_, share in give(teams, crew)] == [WHOLE]  # one works, two wait for it
    crew.pop(0)  # it is no longer used
    assert [share.size for *_, share in give(teams, crew)] == [2, 2]


def test_who_does_not_notice_that_another_is_gone_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = [Worker(), Worker(), Worker()]
    teams = Teams[Worker](queue_of([True, False]), 2, lambda: Path("m"))
    give(teams, crew)
    teams.broken(crew[0], crew)
    assert teams.overdue() == []
    monkeypatch.setattr(module.time, "monotonic", lambda: 1e12)
    assert teams.overdue() == [crew[1]] and teams.overdue() == []
    teams.broken(crew[0], crew)
    crew[1].unit = None  # it has noticed
    assert teams.overdue() == [] and not teams.ends


def test_a_team_larger_than_the_crew_is_a_sentence() -> None:
    check_size(3, 3)
    with pytest.raises(
        StudyError, match=r"--data-parallel 4: there are 3 workers.* Add --workers 4, or give 3 or less"
    ):
        check_size(4, 3)
