"""Tables in, pictures out: static figures and one self-contained page. Importing this loads no plotting library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mossa.report import figures as figures
    from mossa.report.write import write_report as write_report

__all__ = ["figures", "write_report"]


def __getattr__(name: str) -> Any:
    if name == "write_report":
        return import_module("mossa.report.write").write_report
    if name == "figures":
        return import_module("mossa.report.figures")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
