"""Outside a terminal a unit that takes long says how far it is: step, of how many, loss, time left."""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mossa.run import progress
from mossa.run.events import Advanced, Outcome, Started
from mossa.run.options import RunOptions
from mossa.run.progress import Display, run_shown
from mossa.run.queue import Queue
from mossa.run.run import prepare
from mossa.study.schema import StudySettings
from mossa.units.unit import Unit

UNITS = {
    unit.id: unit for unit in (Unit("train", "sft", {}), Unit("represent", "sft@rte", {}), Unit("compare", "rte", {}))
}


def lines_of(display: Display) -> list[str]:
    return display.console.file.getvalue().splitlines()


def display(terminal: bool = False) -> Display:
    return Display(Console(file=io.StringIO(), force_terminal=terminal, width=60), len(UNITS))


def test_each_long_unit_says_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    shown, queue = display(), Queue(UNITS, UNITS)
    for unit in UNITS.values():
        shown.event(Started(unit, 0), queue)
    shown.event(Advanced("train/sft", 40, 400, 2.5), queue)
    clock[0] = 59.0
    shown.tick()
    assert lines_of(shown) == []
    shown.event(Advanced("train/sft", 70, 400, 1.23456), queue)
    shown.event(Advanced("represent/sft@rte", 5, 50), queue)
    clock[0] = 60.0
    shown.tick()
    clock[0] = 61.0
    shown.tick()
    assert lines_of(shown) == [
        "train sft: step 70 of 400, loss 1.2346, about 11 min left",
        "represent sft on rte: 5 of 50",
        "compare rte: at work for 60 s",
    ]
    shown.event(Outcome("compare/rte", "done", seconds=61.0), queue)
    shown.event(Outcome("represent/sft@rte", "failed", "why"), queue)
    clock[0] = 7300.0
    shown.event(Advanced("train/sft", 71, 400, 1.0), queue)
    shown.tick()
    assert lines_of(shown)[4:] == ["train sft: step 71 of 400, loss 1.0000, about 21.5 h left"]


def test_a_terminal_has_bars_and_no_such_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.01)
    shown, queue = display(terminal=True), Queue(UNITS, UNITS)
    with shown.showing():
        shown.event(Started(UNITS["train/sft"], 0), queue)
        shown.event(Advanced("train/sft", 4, 9, 1.5), queue)
        time.sleep(0.1)
    assert "loss" not in shown.console.file.getvalue()


def test_a_run_in_a_log_tells_of_trainings_and_evaluations(
    base_folder: Any, task_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.02)
    monkeypatch.setattr(progress, "SILENCE", float("inf"))
    study = StudySettings.model_validate(
        {
            "name": "log",
            "base": {"model": str(base_folder("llama"))},
            "tasks": {
                "source": str(task_folder),
                "only": ["first", "second"],
                "train": 40,
                "validation": 4,
                "test": 60,
            },
            "recipe": {"budget": {"steps": 40}, "batch_size": 8},
            "experimental": {"pretrained": "base"},
        }
    )
    console = Console(file=io.StringIO(), force_terminal=False, soft_wrap=True)
    finished = run_shown(console, prepare(study, tmp_path), RunOptions("cpu", 1))
    assert not finished.failed
    text = console.file.getvalue()
    assert re.search(r"^train control-first-seed0: step \d+ of 40, loss \d\.\d{4}", text, re.MULTILINE)
    ended = [line for line in text.splitlines() if line.startswith("[")]
    steps = Counter(unit.step for unit in finished.prepared.units.values())
    told = [re.match(r"\[\d+/\d+\] (\w+): (\d+) done, 0 left", line) for line in ended]
    assert sorted((line[1], int(line[2])) for line in told if line) == sorted(steps.items()) and len(told) == len(steps)
