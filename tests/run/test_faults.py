"""Kills, damage, full disks and two runs at once: nothing landed is lost, nothing damaged is used."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from mossa.run.engines.runners import at_work
from mossa.store.folder import RunFolder
from tests.run.command import arguments, assert_same, environment, mossa, run_again, tables

UNITS = "runs/small/units"


KILLS = int(os.environ.get("MOSSA_KILLS", "12"))  # `make nightly` asks for more


def test_killed_again_and_again_a_run_goes_on_to_the_same_result(settings: dict, finished, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    killed = subprocess.run(
        [sys.executable, "-m", "tests.run.killed", str(tmp_path), str(KILLS), "1"],
        cwd=Path(__file__).parents[2],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 0, killed.stderr
    report = re.fullmatch(r"(\d+) kills, (\d+) units landed meanwhile, (\d+) of them done again\n", killed.stdout)
    assert report and int(report[1]) == KILLS and int(report[3]) == 0, killed.stdout
    done, failed, _ = run_again(tmp_path)
    assert not failed
    assert len(done) + int(report[2]) == len(list((tmp_path / UNITS).glob("*/*/manifest.json")))
    assert_same(tables(tmp_path), tables(finished[0]))
    assert not list((tmp_path / UNITS / ".work").iterdir()) and not list((tmp_path / "runs/small/.runners").iterdir())


def children(process: int | str) -> list[str]:
    """Return the processes that this one has started."""
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_a_killed_worker_is_replaced(settings: dict, finished, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(
        arguments("run", "small.yaml", "--no-report", "--workers", "2"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    killed = False
    while process.poll() is None and time.monotonic() < deadline and not killed:
        time.sleep(0.2)
        servers = [pid for pid in children(process.pid) if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        workers = [pid for server in servers for pid in children(server)]
        if workers and list((tmp_path / UNITS).glob("train/*/manifest.json")):
            os.kill(int(workers[0]), signal.SIGKILL)
            killed = True
    output = process.communicate(timeout=200)[0]
    assert killed and process.returncode == 0, output
    assert "exit code -9" in output and "It is replaced" in output
    assert_same(tables(tmp_path), tables(finished[0]))


STOPS = [
    (("--workers", "1"), signal.SIGINT),
    (("--workers", "1"), signal.SIGTERM),
    (("--workers", "2"), signal.SIGINT),
    (("--engine", "ray", "--workers", "1"), signal.SIGTERM),
]


def steps_kept(work: Path) -> dict[str, int]:
    """Return how many steps each checkpoint holds."""
    found: dict[str, int] = {}
    for path in work.glob("checkpoint-*/checkpoint.safetensors"):
        with safe_open(str(path), framework="pt") as opened:
            found[path.parent.name] = json.loads(opened.metadata()["progress"])["step"]
    return found


def stopped(folder: Path, words: tuple[str, ...], stop: signal.Signals, seconds: float) -> dict[str, int]:
    """Run the endless study, stop it `seconds` after all workers train, and return the steps that are kept."""
    endless = ("recipe.budget={steps: 100000}", "-s", "recipe.checkpoint_every=null")
    process = subprocess.Popen(
        arguments("run", "small.yaml", *words, "-s", *endless),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a suite that runs in the background ignores Ctrl-C, and so would what it starts
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    work = folder / UNITS / ".work"
    deadline = time.monotonic() + 60
    trainings = 2 if "2" in words else 1
    while len(list(work.glob("train-*"))) < trainings and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(seconds)
    process.send_signal(stop)
    started = time.monotonic()
    output = process.communicate(timeout=60)[0]
    assert time.monotonic() - started < 20
    assert process.returncode == 130 and "run the same command again" in output and "Traceback" not in output
    assert not list(work.glob("train-*"))
    return steps_kept(work)


def test_stopping_takes_seconds_keeps_every_step_and_says_how_to_go_on(settings: dict, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    kept: dict[str, int] = {}
    for words, stop in STOPS:
        for seconds in (3, 15):  # a slow machine is still loading the base after three
            now = stopped(tmp_path, words, stop, seconds)
            assert all(now[name] >= steps for name, steps in kept.items())
            if went_on := any(now[name] > kept.get(name, 0) for name in now):
                break
        assert went_on and len(now) >= (2 if "2" in words else 1), (words, now)  # it goes on from where it was
        kept = now


@pytest.mark.parametrize(
    ("unit", "how"),
    [
        ("represent/sft@first", "flip"),
        ("represent/sft@first", "truncate"),
        ("represent/sft@first", "delete"),
        ("represent/sft@first", "manifest"),
        ("compare/again", "flip"),
        ("train/control-first-seed0", "flip"),
    ],
)
def test_damage_is_found_reported_and_repaired(folder: Path, finished, unit: str, how: str) -> None:
    place = folder / UNITS / unit
    victim = max((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 4
        victim.write_bytes(data)
    elif how == "truncate":
        victim.write_bytes(data[: len(data) // 2])
    elif how == "delete":
        victim.unlink()
    else:
        (place / "manifest.json").write_text("{")
    done, failed, said = run_again(folder)
    assert unit in done and not failed
    if how == "flip":
        title = unit.replace("/", " ").replace("@", " on ")
        assert any(f"{title} is damaged and will be done again" in line for line in said)
    assert_same(tables(folder), tables(finished[0]))


def test_damage_to_a_large_file_is_found_when_it_is_read(
    folder: Path, finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files above a size are not checked at the start; the unit that reads one finds the damage in time."""
    from mossa.run import run as pipeline

    monkeypatch.setattr(pipeline, "CHECKED_AT_START", 0)
    place = folder / UNITS / "represent/sft@first/representations.safetensors"
    data = bytearray(place.read_bytes())
    data[-9] ^= 1
    place.write_bytes(data)
    shutil.rmtree(folder / UNITS / "compare/first")
    done, failed, said = run_again(folder)
    assert {"represent/sft@first", "compare/first"} <= done and not failed
    assert any("represent sft on first is damaged" in line for line in said)
    assert_same(tables(folder), tables(finished[0]))


def test_a_diverging_control_is_marked_and_the_rest_goes_on(folder: Path) -> None:
    study = yaml.safe_load((folder / "small.yaml").read_text())
    study["control"]["seeds"] = [0, 7]  # only the second seed is new, and only its controls are trained
    study["recipe"]["learning_rate"] = 5e-3
    (folder / "small.yaml").write_text(yaml.safe_dump(study))
    wild = "control={seeds: [7], budget: {steps: 9}}"
    ran = mossa(
        folder,
        "run",
        "small.yaml",
        "--no-report",
        "--no-rehearsal",  # which would find it, for it diverges at once
        "--workers",
        "1",
        "-s",
        wild,
        "-s",
        "recipe.learning_rate=1e30",
        "-s",
        f"experimental={{pretrained: base, given: {{adapter: {folder}/{UNITS}/train/sft/adapter}}}}",
    )
    assert ran.code == 3
    assert "train control-first-seed7 failed: step" in ran.output and "Lower recipe.learning_rate" in ran.output
    assert "so these are left out:" in ran.output
    status = mossa(
        folder,
        "status",
        "small.yaml",
        "-s",
        wild,
        "-s",
        "recipe.learning_rate=1e30",
        "-s",
        f"experimental={{pretrained: base, given: {{adapter: {folder}/{UNITS}/train/sft/adapter}}}}",
    )
    assert "train control-first-seed7: failed: step" in status.output
    found = tables(folder)
    assert set(found["evaluation"]["model"]) == {"pretrained", "given"} and "similarity" not in found
    done, failed, _ = run_again(folder)  # what was asked for first is untouched, and goes on as if nothing had been
    assert not failed and {f"train/control-{task}-seed7" for task in ("again", "colour", "first", "second")} <= done


def test_damage_to_any_file_of_any_unit_is_noticed(folder: Path) -> None:
    run = RunFolder(folder / "runs/small")
    chance = random.Random(0)
    files = [path for path in run.units.rglob("*") if path.is_file()]
    assert len(files) > 150
    for file in files:
        unit = "/".join(file.relative_to(run.units).parts[:2])
        data = file.read_bytes()
        place = chance.randrange(len(data))
        for damaged in (
            data[:place],
            data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :],
        ):
            file.write_bytes(damaged)
            # a flipped bit in what a manifest says of its own making hurts nobody
            assert run.damage(unit) is not None or file.name == "manifest.json", file
        file.write_bytes(data)
        assert run.damage(unit) is None


def test_no_clock_matters(folder: Path, finished) -> None:
    """Files from the future and from long ago, as after a clock that went backwards: nothing is done again or lost."""
    chance = random.Random(0)
    for path in folder.rglob("*"):
        os.utime(path, (chance.choice([0, 4e9]),) * 2)
    shutil.rmtree(folder / UNITS / "compare/first")
    done, failed, _ = run_again(folder)
    assert done == {"compare/first"} and not failed
    assert_same(tables(folder), tables(finished[0]))


def test_a_checkpoint_whose_unit_has_landed_is_removed(folder: Path) -> None:
    """As if the run had been killed after the one and before the other."""
    for name in ("train-sft", "train-another-study"):
        (folder / UNITS / f".work/checkpoint-{name}").mkdir()
    run_again(folder)
    assert [path.name for path in (folder / UNITS / ".work").iterdir()] == ["checkpoint-train-another-study"]


def test_two_runs_in_one_folder_do_not_meet(folder: Path) -> None:
    with at_work(RunFolder(folder / "runs/small"), print):
        for words in (("run",), ("run", "--shard", "1/2"), ("report",)):
            ran = mossa(folder, words[0], "small.yaml", *words[1:])
            assert ran.code == 2 and f"in use by another run (process {os.getpid()} on" in ran.output
    assert mossa(folder, "run", "small.yaml").code == 0


def test_a_folder_of_another_version_is_left_alone(folder: Path) -> None:
    (folder / "runs/small/layout.json").write_text('{"layout": 99}')
    ran = mossa(folder, "run", "small.yaml")
    assert ran.code == 2 and "written by another version of mossa (layout 99" in ran.output


def test_a_run_folder_that_cannot_be_written_is_a_sentence(folder: Path) -> None:
    shutil.rmtree(folder / "runs")
    (folder / "runs").write_text("a file")
    ran = mossa(folder, "run", "small.yaml", "--no-report")
    assert ran.code == 2 and "a file is where a folder should be" in ran.output


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a file system of its own, of this size, at `folder`; skips the test without the right to do so."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this test mounts a small file system and has not the right to")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_run_folder_is_a_sentence(folder: Path) -> None:
    runs = folder / "read-only"
    with small_disk(runs, "20m"):
        shutil.copytree(folder / "runs/small", runs / "small")
        shutil.rmtree(runs / "small/units/compare")
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True)
        ran = mossa(folder, "run", "small.yaml", "--runs", str(runs))
        assert ran.code == 2 and "read-only; give a folder you can write to with --runs" in ran.output
        status = mossa(folder, "status", "small.yaml", "--runs", str(runs))
        assert status.code == 0 and "4 units to do" in status.output


def test_a_full_disk_is_a_sentence_and_what_is_done_is_kept(settings: dict, finished, tmp_path: Path) -> None:
    """A small file system of its own is filled up for real; needs the right to mount one."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    runs = tmp_path / "runs"
    with small_disk(runs, "1500k"):
        ran = mossa(tmp_path, "run", "small.yaml", "--no-report", "--workers", "1")
        assert ran.code == 2 and "the disk is full; make room" in ran.output
        assert not [path for path in (runs / "small/units/.work").iterdir() if not path.name.startswith("checkpoint-")]
        kept = len(list(runs.glob("small/units/*/*/manifest.json")))
        subprocess.run(["mount", "-o", "remount,size=100m", str(runs)], check=True)
        ran = mossa(tmp_path, "run", "small.yaml", "--no-report", "--workers", "1")
        assert ran.code == 0 and f"{kept} done already" in ran.output and kept > 0
        assert_same(tables(tmp_path), tables(finished[0]))
