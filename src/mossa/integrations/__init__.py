"""mossa inside other people's training loops. Importing this loads no transformers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mossa.integrations.layerwise import LayerwiseCallback as LayerwiseCallback

__all__ = ["LayerwiseCallback"]


def __getattr__(name: str) -> Any:
    if name == "LayerwiseCallback":
        return import_module("mossa.integrations.layerwise").LayerwiseCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
