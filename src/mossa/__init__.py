"""Where in a language model a task lives: layer-by-layer comparison with control models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mossa.similarity import cka as cka
    from mossa.similarity import compare as compare
    from mossa.similarity import spectrum as spectrum
    from mossa.study import Study as Study
    from mossa.study import load_study as load_study

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "cka", "compare", "load_study", "spectrum"]

_HOMES = {
    "Study": "mossa.study",
    "load_study": "mossa.study",
    "cka": "mossa.similarity",
    "compare": "mossa.similarity",
    "spectrum": "mossa.similarity",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that `import mossa` is light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
