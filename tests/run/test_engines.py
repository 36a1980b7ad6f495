"""Processes, shards and Ray: the same study, the same results to the bit, also when some of it is killed on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.run.command import Ran, assert_same, environment, mossa, started, tables

UNITS = "runs/small/units"


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    """Wait until `what` gives something true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def ended(process: subprocess.Popen[str]) -> Ran:
    output = process.communicate(timeout=300)[0]
    assert "Traceback" not in output, output
    return Ran(process.returncode, output)


def units_done(ran: Ran) -> int:
    found = re.search(r"(\d+) units done", ran.output)
    return int(found[1]) if found else 0


def test_four_shards_do_each_unit_once_also_when_one_is_killed(settings: dict, finished, tmp_path: Path) -> None:
    """All start at once; the one that trains `sft` is killed while it holds the claim."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    with ExitStack() as stack:
        shards = [
            stack.enter_context(started(tmp_path, "run", "small.yaml", "--workers", "1", "--shard", f"{k}/4"))
            for k in range(1, 5)
        ]
        wait_for(
            lambda: list((tmp_path / UNITS / ".work").glob("train-*")) or (tmp_path / UNITS / "train/sft").exists()
        )
        claimed = tmp_path / "runs/small/.claims/train/sft"
        wait_for(lambda: claimed.is_file())
        holder = re.search(r'"process": (\d+)', claimed.read_text())
        victim = next((shard for shard in shards if holder and shard.pid == int(holder[1])), shards[0])
        victim.kill()
        ran = [ended(shard) for shard in shards if shard is not victim]
        lost = ended(victim)
    assert [shard.code for shard in ran] == [0, 0, 0] and lost.code == -signal.SIGKILL
    landed = len(list((tmp_path / UNITS).glob("*/*/manifest.json")))
    told = len(re.findall(r"^\[\d+/\d+\]", lost.output, re.M))
    # the victim may have landed one that it had no time to tell of
    assert sum(map(units_done, ran)) + told in (landed, landed - 1)
    assert sum("Another shard has written tables and report" in shard.output for shard in ran) == 2
    assert (tmp_path / "runs/small/report/index.html").is_file()
    assert_same(tables(tmp_path), tables(finished[0]))
    assert not list((tmp_path / UNITS / ".work").iterdir())
    again = mossa(tmp_path, "run", "small.yaml", "--shard", "2/4")
    assert again.code == 0 and "Nothing to do" in again.output


@contextmanager
def ray_cluster() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.run.ray_cluster"]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        try:
            yield cluster
        finally:
            assert cluster.stdin is not None
            cluster.stdin.write("end\n")
            cluster.stdin.close()
            cluster.wait(60)


def test_ray_on_two_nodes_survives_a_killed_worker_and_a_lost_node(settings: dict, finished, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    with ray_cluster() as cluster, ExitStack() as stack:
        assert cluster.stdout is not None and cluster.stdin is not None
        address = cluster.stdout.readline().strip()
        process = stack.enter_context(
            started(tmp_path, "run", "small.yaml", "--no-report", "--engine", "ray", "--address", address)
        )
        wait_for(lambda: len(list((tmp_path / UNITS / ".work").glob("train-*"))) == 2)
        actors = [
            int(path.name)
            for path in Path("/proc").glob("[0-9]*")
            if b"ray::Hand" in _command_line(path) and _parent(_parent(int(path.name))) == cluster.pid
        ]
        assert len(actors) == 2
        os.kill(actors[0], signal.SIGKILL)
        wait_for(lambda: len(list((tmp_path / UNITS).glob("train/*/manifest.json"))) >= 4)
        cluster.stdin.write("lose\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline() == "lost\n"
        ran = ended(process)
    assert ran.code == 0, ran.output
    assert "Ray: 2 actors with 1 CPU each, on 2 nodes" in ran.output
    assert ran.output.count("It is replaced") >= 2, ran.output
    assert_same(tables(tmp_path), tables(finished[0]))
    assert not list((tmp_path / UNITS / ".work").iterdir())


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def _parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--shard", "0/4"], "give K/N with K from 1 to N"),
        (["--shard", "5/4"], "--shard 5/4"),
        (["--shard", "a"], "such as --shard 3/64"),
        (["--workers", "0"], "give 1 or more"),
        (["--address", "here:1"], "add --engine ray"),
        (["--engine", "ray", "--shard", "1/2"], "give one of them"),
        (["--engine", "shards"], "such as --shard 3/64"),
    ],
)
def test_means_that_do_not_go_together_are_a_sentence(folder: Path, words: list[str], sentence: str) -> None:
    ran = mossa(folder, "run", "small.yaml", *words)
    assert ran.code == 2 and sentence in ran.output


def test_without_ray_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from mossa.errors import StudyError
    from mossa.run.options import RunOptions

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StudyError, match=r"pip install 'mossa\[ray\]'"):
        RunOptions(engine="ray")
