"""TinyFLAN: 60 small instruction tasks in the 12 FLAN clusters, and small Llamas with a known share of their skills."""

from mossa.tinyflan.catalogue import CLUSTERS
from mossa.tinyflan.collection import load_tasks, task_names

__all__ = ["CLUSTERS", "load_tasks", "task_names"]
