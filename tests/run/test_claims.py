"""Who may work in a folder, and on what: alone or shared, living, gone, killed or lost, whatever the clocks say."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mossa.errors import RunFolderError
from mossa.run.engines import runners
from mossa.run.engines.runners import Observer, Runner, at_work
from mossa.run.engines.shards import SharedQueue, falls_to
from mossa.run.queue import Queue
from mossa.store.folder import RunFolder
from mossa.units.unit import Unit, fingerprints

HOLD = """
import sys, time
from pathlib import Path
from mossa.run.engines.runners import at_work
from mossa.store.folder import RunFolder
run = RunFolder(Path(sys.argv[1]))
with at_work(run, "plan", False, print) as runner:
    assert runner.take("unit")
    (run.work / f"train-abc-{run.token}-half").mkdir()
    print("held", flush=True)
    time.sleep(600)
"""


def said(line: str) -> None:
    raise AssertionError(f"nothing is to be said, but: {line}")


def foreign(path: Path) -> Path:
    """Make a runner's file look as if its process ran on another machine; it is still there."""
    beat, _, content = path.read_text().partition("\n")
    path.write_text(f"{beat}\n" + json.dumps({**json.loads(content), "host": "elsewhere"}))
    return path


def test_one_is_alone_or_shards_share(tmp_path: Path) -> None:
    def shard(plan: str = "plan"):
        return at_work(RunFolder(tmp_path), plan, False, said)

    def alone():
        return at_work(RunFolder(tmp_path), "plan", True, said)

    with alone():
        for other in (alone(), shard()):
            with pytest.raises(RunFolderError, match=rf"in use by another run \(process {os.getpid()} on"), other:
                pass
    with shard(), shard():
        with pytest.raises(RunFolderError, match="in use by shards of a run"), alone():
            pass
        with pytest.raises(RunFolderError, match="one unchanged study"), shard("another"):
            pass
    with alone():
        pass
    assert not list((tmp_path / ".runners").iterdir()) and not (tmp_path / ".claims").exists()


def test_who_has_a_claim_has_it_alone_until_it_is_let_go(tmp_path: Path) -> None:
    with (
        at_work(RunFolder(tmp_path), "plan", False, said) as one,
        at_work(RunFolder(tmp_path), "plan", False, said) as other,
    ):
        assert one.take("unit") and not other.take("unit") and other.take("another")
        one.release("unit")
        assert other.take("unit") and not one.take("unit")
        other.release("unit")
        assert one.take("unit")


def test_who_leaves_lets_go_of_everything(tmp_path: Path) -> None:
    with at_work(RunFolder(tmp_path), "plan", False, said) as stays:
        with at_work(RunFolder(tmp_path), "plan", False, said) as goes:
            assert goes.take("unit")
        assert stays.take("unit")


def test_the_claim_of_a_killed_process_is_free_at_once_and_its_litter_goes(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with at_work(RunFolder(tmp_path), "plan", False, said) as runner:
        assert not runner.take("unit")
        process.kill()
        process.wait()
        process.stdout.close()
        assert runner.take("unit")
        assert not list(runner.run.work.iterdir())


def test_a_runner_elsewhere_is_lost_when_it_has_been_silent_for_long_by_our_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file = tmp_path / "runner"
    runner = Runner(RunFolder(tmp_path), "plan", False)
    (tmp_path / ".runners").mkdir()
    runner.arrive()
    runner.path.rename(file)
    observer = Observer()
    assert observer.look(foreign(file))[1] is None
    for step in range(1, 4):  # a sign of life now and then, from a machine whose clock jumps to and fro
        now += runners.LEASE - 1
        assert observer.look(file)[1] is None
        beat, _, content = file.read_text().partition("\n")
        file.write_text(f"{int(beat) + step:016}\n{content}")
        os.utime(file, (4e9 * (step % 2), 4e9 * (step % 2)))
        assert observer.look(file)[1] is True
    now += runners.LEASE - 1
    assert observer.look(file)[1] is None
    now += 2
    assert observer.look(file)[1] is False
    assert Observer().look(file)[1] is None  # who has only just come cannot know
    runner.leave()


def test_who_comes_alone_waits_until_it_is_sure_that_a_runner_elsewhere_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "LEASE", 0.5)
    with at_work(RunFolder(tmp_path), "plan", False, said) as runner:
        gone = foreign(runner.path).read_text()
    (tmp_path / ".runners" / "lost").write_text(gone)
    lines: list[str] = []
    with at_work(RunFolder(tmp_path), "plan", True, lines.append):
        assert len(lines) == 1 and "on elsewhere is still at work" in lines[0]
    (tmp_path / ".runners" / "damaged").write_bytes(b"\xff\n{")
    with at_work(RunFolder(tmp_path), "plan", True, lines.append):
        assert "a damaged file" in lines[1]


def test_a_living_runner_elsewhere_refuses_who_comes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file system's locks do not reach from one machine to the other."""
    monkeypatch.setattr(runners, "BEAT", 0.1)
    with at_work(RunFolder(tmp_path), "plan", False, said) as runner:
        monkeypatch.setattr(runners, "_lock", lambda *_: None)
        foreign(runner.path)
        with (
            pytest.raises(RunFolderError, match=r"in use by shards of a run .* on elsewhere"),
            at_work(RunFolder(tmp_path), "plan", True, lambda _: None),
        ):
            pass


def test_many_at_once_never_have_the_same(tmp_path: Path) -> None:
    names = [f"unit{number}" for number in range(40)]
    holders: dict[str, list[int]] = {name: [] for name in names}
    problems: list[str] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(3):  # comes, works, leaves with claims in its hands
            with at_work(RunFolder(tmp_path), "plan", False, said) as runner:
                for name in chance.sample(names, len(names)):
                    if not runner.take(name):
                        continue
                    holders[name].append(number)
                    time.sleep(0.0002)
                    if len(holders[name]) != 1:
                        problems.append(f"{name} is held by {holders[name]}")
                    holders[name].remove(number)
                    if chance.random() < 0.7:
                        runner.release(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert not list((tmp_path / ".claims").iterdir())  # each was released


def some_units() -> dict[str, Unit]:
    units = [Unit("train", name, {}) for name in ("a", "b", "c")]
    units += [Unit("represent", f"{name}@t", {}, (f"train/{name}",), name) for name in ("a", "b", "c")]
    units.append(Unit("compare", "t", {}, tuple(f"represent/{name}@t" for name in ("a", "b", "c"))))
    return {unit.id: unit for unit in units}


def land(run: RunFolder, unit: Unit, mark: str) -> None:
    with run.landing(unit, mark, {}) as folder:
        (folder / "x.txt").write_text(unit.id)


def test_shards_do_every_unit_once_and_see_what_the_others_landed_and_failed(tmp_path: Path) -> None:
    units, failed = some_units(), []
    marks = fingerprints(units)
    with (
        at_work(RunFolder(tmp_path), "plan", False, said) as one,
        at_work(RunFolder(tmp_path), "plan", False, said) as other,
    ):
        queues = [
            SharedQueue(units, units, marks, runner, number, lambda name, why: failed.append((name, why)))
            for number, runner in enumerate((one, other), 1)
        ]
        first, second = queues[0].next(), queues[1].next()
        assert first is not None and second is not None and (first.id, second.id) == ("train/a", "train/b")
        third = queues[0].next()
        assert third is not None and third.id == "train/c" and queues[1].next() is None and queues[1].wait()
        land(one.run, first, marks[first.id])
        queues[0].done(first.id)
        fourth = queues[1].next()  # the other has seen that train/a has landed
        assert fourth is not None and fourth.id == "represent/a@t"
        other.run.record_failure(second, marks[second.id], "it diverged")
        assert queues[1].fail(second.id, "it diverged") == ["represent/b@t", "compare/t"]
        assert queues[0].next() is None and failed == [("train/b", "it diverged")]
        assert set(queues[0].failed) == {"train/b", "represent/b@t", "compare/t"}
        # an input is damaged: whoever claims it does it again, and one is enough
        land(one.run, third, marks[third.id])
        queues[0].done(third.id)
        (one.run.folder("train/a") / "x.txt").write_text("train/A")
        queues[1].again(fourth.id, "train/a")
        queues[0].again("represent/a@t", "train/a")
        redone = queues[0].next()
        assert redone is not None and redone.id == "train/a"
        land(one.run, redone, marks[redone.id])
        queues[0].done(redone.id)
        left = [queues[1].next(), queues[0].next()]
        assert {unit.id for unit in left if unit} == {"represent/a@t", "represent/c@t"}
        for queue, unit in zip((queues[1], queues[0]), left, strict=True):
            assert unit is not None
            land(queue.run, unit, marks[unit.id])
            queue.done(unit.id)
        assert [queue.next() for queue in queues] == [None, None]
        assert [queue.todo for queue in queues] == [set(), set()] and not any(queue.wait() for queue in queues)


def test_a_failed_unit_is_tried_once_more_by_one_shard(tmp_path: Path) -> None:
    units = some_units()
    marks = fingerprints(units)
    with at_work(RunFolder(tmp_path), "plan", False, said) as runner:
        runner.run.record_failure(units["train/a"], marks["train/a"], "it diverged")
        for shards in (1, 3, 64):
            mine = [shard for shard in range(1, shards + 1) if falls_to("train/a", shard, shards)]
            assert len(mine) == 1
        queue = SharedQueue(units, units, marks, runner, 1, lambda *_: None)
        queue.retried.add("train/a")
        unit = queue.next()
        assert unit is not None and unit.id == "train/a"


def test_a_plain_queue_waits_for_nobody() -> None:
    assert Queue(some_units(), []).wait() is False
