"""TinyFLAN: 60 small instruction tasks in the 12 FLAN clusters, and small Llamas with a known half of their skills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mossa.tinyflan.bases import base_folder
from mossa.tinyflan.catalogue import CLUSTERS
from mossa.tinyflan.collection import load_tasks, task_names
from mossa.tinyflan.planting import BASES, planted

if TYPE_CHECKING:
    from mossa.tinyflan.verification import Verified, verify_planting

__all__ = [
    "BASES",
    "CLUSTERS",
    "Verified",
    "base_folder",
    "load_tasks",
    "planted",
    "task_names",
    "verify_planting",
]


def __getattr__(name: str) -> object:
    """Import what needs torch only when it is asked for."""
    if name in ("Verified", "verify_planting"):
        from mossa.tinyflan import verification

        return getattr(verification, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
