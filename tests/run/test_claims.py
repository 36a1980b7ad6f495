"""Who may work in a folder, and on what: alone or shared, living, gone, killed or lost, whatever the clocks say."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mossa.errors import RunFolderError
from mossa.run.engines import runners
from mossa.run.engines.runners import Runner, at_work
from mossa.run.engines.shards import SharedQueue
from mossa.run.options import RunOptions
from mossa.run.queue import Queue
from mossa.run.run import Prepared
from mossa.store.folder import RunFolder
from mossa.units.unit import Unit, fingerprints

HOLD = """
import sys, time
from pathlib import Path
from mossa.run.engines import runners
from mossa.store.folder import RunFolder
where = sys.argv[2]
if where != "here":  # as on another machine
    runners.BEAT, runners._this_machine, runners.socket.gethostname = 0.1, lambda: where, lambda: where
run = RunFolder(Path(sys.argv[1]))
with runners.at_work(run, print, "plan") as runner:
    assert runner.take("unit")
    (run.work / f"train-abc-{run.token}-half").mkdir()
    print("held", flush=True)
    time.sleep(600)
"""


def said(line: str) -> None:
    raise AssertionError(f"nothing is to be said, but: {line}")


def shard(path: Path, plan: str = "plan") -> AbstractContextManager[Runner]:
    return at_work(RunFolder(path), said, plan)


@contextmanager
def holder(path: Path, where: str = "here") -> Iterator[subprocess.Popen[str]]:
    """Start a shard in a process of its own, which holds `unit` and is half way through it."""
    command = [sys.executable, "-c", HOLD, str(path), where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def foreign(path: Path) -> Path:
    """Make a runner's card look as if its process ran on another machine."""
    card = {**json.loads(path.read_text()), "host": "elsewhere", "locked": "elsewhere"}
    path.write_text(json.dumps(card))
    return path


def test_one_is_alone_or_shards_share(tmp_path: Path) -> None:
    def alone() -> AbstractContextManager[Runner]:
        return at_work(RunFolder(tmp_path), said)

    with alone():
        for other in (alone(), shard(tmp_path)):
            with pytest.raises(RunFolderError, match=rf"in use by another run \(process {os.getpid()} on"), other:
                pass
    with shard(tmp_path), shard(tmp_path):
        with pytest.raises(RunFolderError, match="in use by shards of a run"), alone():
            pass
        with pytest.raises(RunFolderError, match="one unchanged study"), shard(tmp_path, "another"):
            pass
    with alone():
        pass
    assert not list((tmp_path / ".runners").iterdir()) and not (tmp_path / ".claims").exists()


@pytest.mark.parametrize("_attempt", range(3))
def test_of_those_that_come_alone_at_the_same_moment_one_stays(tmp_path: Path, _attempt: int) -> None:
    together, inside, refused = threading.Barrier(4), list[int](), list[str]()

    def come(number: int) -> None:
        together.wait()
        try:
            with at_work(RunFolder(tmp_path), said):
                inside.append(number)
                time.sleep(2.5)
        except RunFolderError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=come, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 1 and len(refused) == 3


def test_who_has_a_claim_has_it_alone_until_it_is_let_go(tmp_path: Path) -> None:
    with shard(tmp_path) as one, shard(tmp_path) as other:
        assert one.take("unit") and not other.take("unit") and other.take("another")
        one.release("unit")
        assert other.take("unit") and not one.take("unit")
        other.release("unit")
        assert one.take("unit")


def test_who_leaves_lets_go_of_everything(tmp_path: Path) -> None:
    with shard(tmp_path) as stays:
        with shard(tmp_path) as goes:
            assert goes.take("unit")
        assert stays.take("unit")


def test_the_claim_of_a_killed_process_is_free_at_once_and_its_litter_goes(tmp_path: Path) -> None:
    with holder(tmp_path) as process, shard(tmp_path) as runner:
        assert not runner.take("unit")
        process.kill()
        process.wait()
        assert runner.take("unit")
        assert not list(runner.run.work.iterdir())


def test_the_claim_of_a_process_killed_elsewhere_is_free_after_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "LEASE", 2.0)
    with holder(tmp_path, "elsewhere") as process, shard(tmp_path) as runner:
        start = time.monotonic()
        while time.monotonic() - start < 4:  # it gives signs of life
            assert not runner.take("unit")
            time.sleep(0.1)
        process.kill()
        process.wait()
        killed = time.monotonic()
        while not runner.take("unit"):
            time.sleep(0.1)
        assert 1.5 < time.monotonic() - killed < 10
        assert not list(runner.run.work.iterdir())


def test_a_runner_elsewhere_is_lost_when_it_has_been_silent_for_long_by_our_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    other, observer = Runner(RunFolder(tmp_path), "plan"), Runner(RunFolder(tmp_path), "plan")
    card = foreign(other.path)
    assert observer.look(card)[1] is None
    for step in range(1, 4):  # a sign of life now and then, from a machine whose clock jumps to and fro
        now += runners.LEASE - 1
        assert observer.look(card)[1] is None
        os.utime(card, (4e9 * (step % 2), 4e9 * (step % 2)))
        assert observer.look(card)[1] is True
    now += runners.LEASE - 1
    assert observer.look(card)[1] is None
    now += 2
    assert observer.look(card)[1] is False
    newcomer = Runner(RunFolder(tmp_path), "plan")
    assert newcomer.look(card)[1] is None  # a runner that has just come cannot know
    for runner in (other, observer, newcomer):
        runner.leave()


def test_who_comes_alone_waits_until_it_is_sure_that_a_runner_elsewhere_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "LEASE", 1.5)
    with shard(tmp_path) as runner:
        gone = foreign(runner.path).read_text()
    (tmp_path / ".runners" / "lost").write_text(gone)
    lines: list[str] = []
    with at_work(RunFolder(tmp_path), lines.append):
        assert len(lines) == 1 and "on elsewhere is still at work" in lines[0]
        assert not (tmp_path / ".runners" / "lost").exists()
    (tmp_path / ".runners" / "damaged").write_bytes(b"\xff\n{")
    with at_work(RunFolder(tmp_path), lines.append):
        assert "a damaged file" in lines[1]


def test_a_damaged_claim_is_taken_over_after_the_lease_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "LEASE", 0.5)
    with shard(tmp_path) as runner, shard(tmp_path) as other:
        scratch = other.run.scratch()
        scratch.touch()
        (tmp_path / ".claims").mkdir()
        (tmp_path / ".claims/unit").write_bytes(b"")
        assert not runner.take("unit")
        time.sleep(1)
        assert runner.take("unit") and scratch.exists()


def test_a_living_runner_elsewhere_refuses_who_comes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file system's locks do not reach from one machine to the other."""
    monkeypatch.setattr(runners, "BEAT", 0.1)
    with shard(tmp_path) as runner:
        monkeypatch.setattr(runners, "_lock", lambda *_: False)
        foreign(runner.path)
        with (
            pytest.raises(RunFolderError, match=r"in use by shards of a run .* on elsewhere"),
            at_work(RunFolder(tmp_path), lambda _: None),
        ):
            pass


def test_many_at_once_never_have_the_same(tmp_path: Path) -> None:
    names = [f"unit{number}" for number in range(40)]
    holders: dict[str, list[int]] = {name: [] for name in names}
    problems: list[str] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(3):  # comes, works, leaves with claims in its hands
            with shard(tmp_path) as runner:
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


def queue_of(
    runner: Runner, units: dict[str, Unit], say: Callable[[str], None] = said, number: int = 1, shards: int = 2
) -> SharedQueue:
    marks = fingerprints(units)
    status = {name: runner.run.status(unit, marks[name]) for name, unit in units.items()}
    unused: Any = None
    prepared = Prepared(unused, [], runner.run, units, marks, status, unused)
    return SharedQueue(prepared, RunOptions(shard=(number, shards)), runner, say)


def land(run: RunFolder, unit: Unit, mark: str) -> None:
    with run.landing(unit, mark, {}) as folder:
        (folder / "x.txt").write_text(unit.id)


def test_shards_do_every_unit_once_and_see_what_the_others_landed_and_failed(tmp_path: Path) -> None:
    units, lines = some_units(), list[str]()
    marks = fingerprints(units)
    with shard(tmp_path) as one, shard(tmp_path) as other:
        queues = [queue_of(runner, units, lines.append, number) for number, runner in enumerate((one, other), 1)]
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
        assert queues[0].next() is None
        assert lines == ["train b failed in another shard or an earlier run: it diverged"]
        assert set(queues[0].failed) == {"train/b", "represent/b@t", "compare/t"}
        # an input is damaged: the shard that claims it does it again, and one is enough
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
    with shard(tmp_path) as runner:
        runner.run.record_failure(units["train/a"], fingerprints(units)["train/a"], "it diverged")
        for shards in (1, 3, 64):
            queues = [queue_of(runner, units, number=number, shards=shards) for number in range(1, shards + 1)]
            assert ["train/a" in queue.retried for queue in queues].count(True) == 1
        unit = queues[0].next()
        assert unit is not None and unit.id == "train/a"
        runner.release(unit.id)
        lines: list[str] = []
        other = queue_of(runner, units, lines.append, 2).next()
        assert other is not None and other.id == "train/b"
        assert lines == ["train a failed in another shard or an earlier run: it diverged"]


def test_every_shard_prefers_the_model_that_it_has_loaded(tmp_path: Path) -> None:
    units = some_units()
    marks = fingerprints(units)
    with shard(tmp_path) as runner:
        for name in ("train/a", "train/b", "train/c"):
            land(runner.run, units[name], marks[name])
        for number in (1, 2):
            unit = queue_of(runner, units, said, number).next(loaded="c")
            assert unit is not None and unit.id == "represent/c@t"
            runner.release(unit.id)


def test_damage_is_found_by_one_shard_and_done_again_once(tmp_path: Path) -> None:
    units = some_units()
    marks = fingerprints(units)
    with shard(tmp_path) as one, shard(tmp_path) as other:
        for unit in units.values():
            land(one.run, unit, marks[unit.id])
        (one.run.folder("train/b") / "x.txt").write_text("train/B")
        queues = [queue_of(runner, units, said, number) for number, runner in enumerate((one, other), 1)]
        assert [queue.todo for queue in queues] == [set(), {"train/b"}]
        again = queues[1].next()
        assert again is not None and again.id == "train/b"
        land(other.run, again, marks[again.id])
        queues[1].done(again.id)
        assert not queues[1].todo and one.run.damage("train/b") is None


def test_a_plain_queue_waits_for_nobody() -> None:
    assert Queue(some_units(), []).wait() is False
