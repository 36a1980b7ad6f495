"""TinyFLAN: 60 small instruction tasks in the 12 FLAN clusters, and small Llamas with a known half of their skills."""

from __future__ import annotations

from mossa.tinyflan.bases import BASES, base_folder, taught_tasks
from mossa.tinyflan.catalogue import CLUSTERS

__all__ = [
    "BASES",
    "CLUSTERS",
    "base_folder",
    "taught_tasks",
]
