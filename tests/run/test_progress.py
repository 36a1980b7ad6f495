"""A study says how far it is and how long the rest takes, on a terminal and in a log."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from mossa.run import progress
from mossa.run.events import Outcome, Started
from mossa.run.progress import Display
from mossa.run.queue import Queue
from mossa.units.unit import Unit

TRAININGS = [Unit("train", "sft", {"role": "experimental"})]
TRAININGS += [Unit("train", name, {"role": "control"}) for name in "abc"]
UNITS = {unit.id: unit for unit in [*TRAININGS, *(Unit("compare", name, {}) for name in "abc")]}


def done(shown: Display, queue: Queue, name: str, seconds: float) -> None:
    queue.done(name)
    shown.event(Outcome(name, "done", seconds=seconds), queue)


def test_the_time_left_is_told_from_the_first_unit_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    console = Console(file=io.StringIO(), width=200)
    shown, queue = Display(console, len(UNITS)), Queue(UNITS, UNITS)
    for now, name, seconds in [
        (300, "train/sft", 600),
        (360, "train/a", 120),
        (420, "train/b", 120),
        (480, "train/c", 120),
    ]:
        clock[0] = now
        done(shown, queue, name, seconds)
    for now, name in [(481, "compare/a"), (511, "compare/b"), (512, "compare/c")]:
        clock[0] = now
        done(shown, queue, name, 2)
    # two workers: a second of work takes half a second of the clock. Nothing is told a second after the last line.
    assert console.file.getvalue().splitlines() == [
        "[1/7] train: 1 done, 3 left",  # how long a control takes is not known from a mixture
        "[2/7] train: 2 done, 2 left, about 2 min left, not counting compare",
        "[3/7] train: 3 done, 1 left, about 60 s left, not counting compare",
        "[4/7] train: 4 done, 0 left",
        "[6/7] compare: 2 done, 1 left, about 1 s left",
        "[7/7] compare: 3 done, 0 left",
    ]


def test_units_under_way_count_as_work_that_goes_on_beside_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    console = Console(file=io.StringIO(), width=200)
    shown, queue = Display(console, len(UNITS)), Queue(UNITS, UNITS)
    for name, worker in (("train/sft", 0), ("train/a", 1)):
        shown.event(Started(UNITS[name], worker), queue)
    clock[0] = 100
    done(shown, queue, "train/a", 100)
    # Of two workers one has ended something: two controls of 100 s each take 100 s, not 200.
    assert (
        console.file.getvalue()
        == "[1/7] train: 1 done, 3 left, about 2 min left, not counting compare, train (experimental)\n"
    )


def test_a_terminal_shows_what_is_done_of_each_step() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    shown, queue = Display(console, len(UNITS)), Queue(UNITS, UNITS)
    with shown.showing():
        done(shown, queue, "train/sft", 3.0)
        done(shown, queue, "train/a", 1.0)
        assert shown.bars is not None
        said = shown.bars.tasks[0].description
    assert re.fullmatch(r"units, about \d+ s left, not counting compare; train 2/4, compare 0/3", said), said
