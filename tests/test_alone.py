"""Without a network, and without trying to reach one: no telemetry, no tracker, no look at a hub for a local base."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.run.command import environment

WATCHED = """
import sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname") or (
        event == "socket.connect" and isinstance(arguments[1], tuple)
    ):
        print("REACHED OUT", event, arguments, flush=True)

sys.addaudithook(watch)
sys.argv = ["mossa", *sys.argv[1:]]
from mossa.cli import main
main()
"""


def test_a_study_runs_without_a_network_and_never_asks_for_one(base_folder, task_folder: Path, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare -n is not permitted here")
    study = {
        "name": "alone",
        "base": {"model": str(base_folder("llama"))},
        "tasks": {"source": str(task_folder), "only": ["first", "second"], "train": 16, "test": 8},
        "recipe": {"preset": "small", "budget": {"steps": 2}},
        "similarity": {"other_controls": 0},
    }
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(study))
    online = {name: value for name, value in environment().items() if name != "HF_HUB_OFFLINE"}
    ran = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", WATCHED, "run", "alone.yaml", "--workers", "1"],
        cwd=tmp_path,
        env=online,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 and "0 failed" in ran.stdout, ran.stdout + ran.stderr
    assert "REACHED OUT" not in ran.stdout
