"""Runs the real command line in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mossa.run.options import RunOptions
from mossa.run.run import prepare, run_study
from mossa.study import load_study


@dataclass(frozen=True)
class Ran:
    """What a command gave: exit code, and everything it printed."""

    code: int
    output: str


ROOT = Path(__file__).parents[2]


def arguments(*words: str, module: str = "mossa.cli") -> list[str]:
    return [sys.executable, "-m", module, *words]


def environment() -> dict[str, str]:
    """Return this environment with one thread, no hub, and the repository's own packages where they are found."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **fixed}


def mossa(folder: Path, *words: str, module: str = "mossa.cli") -> Ran:
    """Run `mossa`, or another `module`, with these words in `folder`; a traceback is never an answer."""
    done = subprocess.run(
        arguments(*words, module=module),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return Ran(done.returncode, output)


@contextmanager
def started(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start `mossa` with these words in `folder`; at the end of the block it is killed if it still runs."""
    with subprocess.Popen(
        arguments(*words),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def run_again(folder: Path, *overrides: str) -> tuple[set[str], dict[str, str], list[str]]:
    """Run the study in `folder` in this process; return the ids done, what failed, and what was said.

    The same calls as the command line's, without a fresh interpreter and a report each time.
    """
    said: list[str] = []
    prepared = prepare(load_study(folder / "small.yaml", overrides), folder / "runs")
    finished = run_study(prepared, RunOptions(device="cpu", workers=1), say=said.append)
    assert len(set(finished.done)) == len(finished.done)
    return set(finished.done), finished.failed, said


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the result tables without what a clock measured."""
    found = {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("runs/small/results/*.parquet"))}
    if "adapters" in found:
        found["adapters"] = found["adapters"].drop(columns="seconds")
    return found


def assert_same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    """Fail unless both hold the same tables, to the bit."""
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, check_exact=True, obj=name)
