"""Local paths of a study, made independent of the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mossa.study.schema import Study


def looks_local(value: str) -> bool:
    """Tell whether `value` is written as a path and not as a hub id or the name of a collection."""
    return value.startswith((".", "/", "~")) or "\\" in value


def resolve(value: str, folder: Path) -> str:
    """Return `value` as an absolute path if it names something beside the study file, else unchanged."""
    path = Path(value).expanduser()
    beside = path if path.is_absolute() else folder / path
    return str(beside.resolve()) if looks_local(value) or beside.exists() else value


def resolve_paths(study: Study, folder: Path) -> Study:
    """Return `study` with the base, the task folder and existing models resolved against `folder`."""
    experimental: dict[str, Any] = {}
    for name, model in study.experimental.items():
        given = {kind: getattr(model, kind) for kind in ("adapter", "checkpoint")}
        update = {kind: resolve(value, folder) for kind, value in given.items() if value is not None}
        experimental[name] = model.model_copy(update=update)
    return study.model_copy(
        update={
            "base": study.base.model_copy(update={"model": resolve(study.base.model, folder)}),
            "tasks": study.tasks.model_copy(update={"source": resolve(study.tasks.source, folder)}),
            "experimental": experimental,
        }
    )
