"""A small study that was run once, to be copied and treated badly."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.pipeline.command import Ran, mossa


@pytest.fixture(scope="session")
def settings(base_folder: Callable[[str], Path], task_folder: Path) -> dict:
    """Return the settings of a study of four tasks with everything in it."""
    return {
        "name": "small",
        "base": {"model": str(base_folder("llama"))},
        "tasks": {"source": str(task_folder), "train": 48, "validation": 8, "test": 24},
        "recipe": {
            "preset": "small",
            "learning_rate": 5e-3,
            "batch_size": 8,
            "checkpoint_every": 5,
            "budget": {"steps": 12},
        },
        "control": {"seeds": [0, 1]},
        "experimental": {
            "pretrained": "base",
            "sft": {"mixture": "all", "cap_per_cluster": 60},
            "unseen": {"mixture": "all", "hold_out": ["naming"]},
        },
        "similarity": {"other_controls": 1, "affinity": True},
    }


@pytest.fixture(scope="session")
def finished(settings: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """Return the folder in which the study was run, in this process's way, and what the run said."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(yaml.safe_dump(settings))
    ran = mossa(folder, "run", "small.yaml", "--workers", "1")
    assert ran.code == 0, ran.output
    return folder, ran


@pytest.fixture
def folder(finished: tuple[Path, Ran], tmp_path: Path) -> Path:
    """Return a copy of the finished study's folder."""
    return Path(shutil.copytree(finished[0], tmp_path / "study"))
