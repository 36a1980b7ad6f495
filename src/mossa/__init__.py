"""Where in a language model a task lives: layer-by-layer comparison with control models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mossa import integrations as integrations
    from mossa.api.compare import compare as compare
    from mossa.api.diff import diff as diff
    from mossa.api.locate import locate as locate
    from mossa.api.results import Results as Results
    from mossa.api.study import Study as Study
    from mossa.api.study import validate as validate
    from mossa.api.tasks import list_tasks as list_tasks
    from mossa.api.tasks import show_task as show_task
    from mossa.errors import MossaError as MossaError
    from mossa.representations import represent as represent
    from mossa.similarity import cka as cka
    from mossa.similarity import spectrum as spectrum

__version__ = "0.1.0"
__all__ = [
    "MossaError",
    "Results",
    "Study",
    "__version__",
    "cka",
    "compare",
    "diff",
    "integrations",
    "list_tasks",
    "locate",
    "represent",
    "show_task",
    "spectrum",
    "validate",
]

_HOMES = {
    "MossaError": "mossa.errors",
    "Results": "mossa.api.results",
    "Study": "mossa.api.study",
    "cka": "mossa.similarity",
    "compare": "mossa.api.compare",
    "diff": "mossa.api.diff",
    "list_tasks": "mossa.api.tasks",
    "locate": "mossa.api.locate",
    "represent": "mossa.representations",
    "show_task": "mossa.api.tasks",
    "spectrum": "mossa.similarity",
    "validate": "mossa.api.study",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that `import mossa` is light."""
    if name == "integrations":
        return import_module("mossa.integrations")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
