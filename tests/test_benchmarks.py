"""The benchmark for GPUs runs from end to end, small and on the CPU, and refuses to measure what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.pipeline.command import environment

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)


def test_a_rehearsal_gives_every_figure_and_says_that_it_is_one(tmp_path: Path) -> None:
    done = run("--small", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    assert "REHEARSAL" in done.stdout.splitlines()[0]
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["rehearsal"] is True and [row["shape"] for row in written["rows"]] == ["small"]
    row = written["rows"][0]
    counted = ("matmul_tflops", "training_tokens_per_second", "extraction_prompts_per_second", "compare_seconds_on_cpu")
    assert all(row[name] > 0 for name in (*counted, "training_share", "extraction_share"))
    assert row["compared"] == {"n": written["size"]["prompts"], "layers": 3, "d": 64, "models": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    done = run("--json", str(tmp_path / "figures.json"))
    assert done.returncode == 2 and "torch finds none here. --small rehearses on the CPU" in done.stderr
    assert done.stdout == "" and not (tmp_path / "figures.json").exists()
