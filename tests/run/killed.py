"""Runs a study and kills it again and again: `python -m tests.run.killed FOLDER KILLS SEED`.

The libraries are imported once; each attempt is a fork of this process, so that fifty cost little more than one. Prints
how many kills met a run at work, and how many manifests changed after they had landed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import mossa.run.perform
from mossa.models.adapters import new_adapter
from mossa.models.base import load_base
from mossa.run.options import RunOptions
from mossa.run.run import prepare, run_study
from mossa.study import load_study

MEAN = 0.5  # seconds of processor time from one kill to the next; a whole run takes some ten


def main(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    landed: dict[Path, int] = {}
    met = redone = 0
    study = load_study(folder / "small.yaml")
    with new_adapter(load_base(study.base), study.recipe.lora, 0):
        assert mossa.run.perform  # so that all modules are there before the first fork
    while met < kills:
        process = os.fork()
        if process == 0:
            prepared = prepare(study, folder / "runs")
            run_study(prepared, RunOptions(device="cpu", workers=1), say=lambda _: None)
            os._exit(0)
        end = chance.expovariate(1 / MEAN)
        while _processor_seconds(process) < end:
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        met += os.WIFSIGNALED(status)
        redone += sum(path.stat().st_mtime_ns != written for path, written in landed.items())
        landed = {path: path.stat().st_mtime_ns for path in folder.glob("runs/small/units/[!.]*/*/manifest.json")}
        if os.WIFEXITED(status):  # it came to its end before it was killed: once more from the start
            assert os.WEXITSTATUS(status) == 0
            shutil.rmtree(folder / "runs")
            landed = {}
    print(f"{met} kills, {len(landed)} units landed meanwhile, {redone} of them done again")


def _processor_seconds(process: int) -> float:
    state, *fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return float("inf") if state == "Z" else (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
