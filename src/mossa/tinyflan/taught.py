"""Which base of TinyFLAN was taught which tasks."""

from __future__ import annotations

from mossa.errors import ModelError, choices
from mossa.tinyflan.catalogue import specifications

# `a` and `b` have complementary halves of every cluster, `all` has every skill, `random` is untrained.
BASES = ("a", "b", "all", "random")


def taught_tasks(base: str) -> list[str]:
    """Return the names of the tasks whose skill `base` is given, in the order of the clusters.

    Raises `ModelError` with the choices if there is no such base.
    """
    if base not in BASES:
        raise ModelError(f"TinyFLAN has no base {base!r}. {choices(base, BASES)}")
    tasks = specifications().values()
    return [task.name for task in tasks if base == "all" or task.planted == base]
