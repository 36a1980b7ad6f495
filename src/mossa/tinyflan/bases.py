"""The shipped bases: where they are, that they are what was built, and which tasks each was taught."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from mossa.errors import ModelError, choices
from mossa.tinyflan.catalogue import specifications

SHIPPED = Path(__file__).parent / "bases"
MANIFEST = "manifest.json"
REMEDY = "Install mossa again, or rebuild the bases with `python -m experiments.tinyflan.build` in the repository."

# `a` and `b` have complementary halves of every cluster, `all` has every skill, `random` is untrained.
BASES = ("a", "b", "all", "random")


def base_folder(name: str, folder: Path = SHIPPED) -> Path:
    """Return the folder of a shipped base (`a`, `b`, `all` or `random`), a Hugging Face model with its tokenizer.

    Raises `ModelError` with the choices if there is no such base, and with the file if one is missing or damaged.
    """
    if name not in BASES:
        raise ModelError(f"TinyFLAN has no base {name!r}. {choices(name, BASES)}")
    expected = read_manifest(folder).get(name)
    if expected is None:
        raise ModelError(f"{folder}: the base {name!r} has not been built. {REMEDY}")
    for file, digest in expected["files"].items():
        path = folder / name / file
        if not path.is_file():
            raise ModelError(f"{path}: this file of the base {name!r} is missing. {REMEDY}")
        if hash_file(path) != digest:
            raise ModelError(f"{path}: this file of the base {name!r} is damaged. {REMEDY}")
    return folder / name


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what was built into `folder`: for each base its files with their SHA-256, and how it was built."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: the list of the bases is damaged ({error}). {REMEDY}") from error


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def taught_tasks(base: str) -> list[str]:
    """Return the names of the tasks whose skill `base` is taught, in the order of the clusters.

    Raises `ModelError` with the choices if there is no such base.
    """
    if base not in BASES:
        raise ModelError(f"TinyFLAN has no base {base!r}. {choices(base, BASES)}")
    tasks = specifications().values()
    return [task.name for task in tasks if base == "all" or task.planted == base]
