"""Which software made a result."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "mossa", "torch", "transformers", "tokenizers", "peft", "accelerate", "safetensors", "numpy", "scikit-learn",
)  # fmt: skip


def provenance() -> dict[str, Any]:
    """Return the versions of mossa, Python and the libraries, and the git state of the working directory."""
    return {"versions": dict(_versions()), "git": _git()}


@lru_cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version()), *((name, version(name)) for name in PACKAGES)]
    with contextlib.suppress(PackageNotFoundError):
        found.append(("bitsandbytes", version("bitsandbytes")))
    return tuple(found)


@lru_cache
def _git() -> str | None:
    """Return the commit of the working directory, marked if it has changes; None outside a repository."""
    try:
        commit = _ask("rev-parse", "HEAD")
        return commit + (" with changes" if _ask("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _ask(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
