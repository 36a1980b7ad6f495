"""Small real models and tasks, and a small study that was run once; built once per session."""

from __future__ import annotations

import os

# Before torch is imported anywhere: small models are fastest with one thread per process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import yaml

from tests import small
from tests.run.command import Ran, mossa

# How long an example takes says nothing about whether it is right, least of all on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None, print_blob=True)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from an architecture's name to the folder of a small model of it, saved with its tokenizer."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = small.save_base(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four small tasks in two clusters, in the FLAN schema."""
    return small.save_tasks(tmp_path_factory.mktemp("tasks"))


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
        "place": True,
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
