"""Collections and tasks in words, as `mossa tasks` prints them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mossa.api import Text
from mossa.errors import StudyError

if TYPE_CHECKING:
    from mossa.study.schema import StudySettings
    from mossa.study.starter import Fit
    from mossa.tasks.task import Example


def list_tasks(source: str | Path | None = None) -> Text:
    """Return the collections, or the clusters and tasks of one, of a study file or of a folder.

    Raises `MossaError` if there is no such source, or its tasks cannot be loaded.
    """
    from mossa.tasks.listing import list_collections, list_source

    return Text("\n".join(list_collections() if source is None else list_source(str(source))))


def show_task(name: str, of: str | Path | None = None, base: str | Path | None = None) -> Text:
    """Return where a task comes from, how many examples it has, some of its prompts, and one as the model sees it.

    `of`: a collection, a study file, files of data or hub:owner/name; default: all collections. `base`: the model that
    sees it, by default the study's; without either there are only texts. Raises `MossaError` if there is no such task
    or base.
    """
    from mossa.study.loading import load_study
    from mossa.tasks.listing import is_study, show_task

    study = load_study(Path(of)) if of is not None and is_study(str(of)) else None
    seen = None
    if base is not None or study is not None:
        seen = _as_seen(study, base)
    return Text("\n".join(show_task(name, None if of is None else str(of), seen)))


def start_study(path: str | Path, base: str, tasks: str, gpu: str | None = None) -> list[str]:
    """Write a commented study file and return what was found in the data.

    With `gpu`, the name of one (`found`: the one in this machine), number format, bits and cutoff are set so that it
    fits. Raises `StudyError` if the file exists, there is no such GPU, or the base does not fit it at all.
    """
    from mossa.study.starter import write_starter
    from mossa.tasks.listing import found_mapping

    found = found_mapping(tasks)
    fitted = None if gpu is None else _fit(base, tasks, gpu)
    write_starter(Path(path), base, tasks, found, fitted)
    return [*found, *(fitted.notes if fitted else ())]


def _fit(base: str, tasks: str, gpu: str) -> Fit:
    from mossa.cost.gpus import fit, found_gpu, named_gpu
    from mossa.study.paths import resolve
    from mossa.study.schema import Base
    from mossa.tasks.collections import load_tasks
    from mossa.tasks.listing import source_settings

    name = found_gpu() if gpu == "found" else gpu.lower()
    if name is None:
        raise StudyError("--gpu found: there is no GPU here that mossa knows. Name the one the study is for.")
    known = named_gpu(name)
    return fit(Base(model=resolve(base, Path())), load_tasks(source_settings(tasks)), name, known)


def _as_seen(study: StudySettings | None, base: str | Path | None) -> Callable[[Example], list[str]]:
    """Return a function that shows how a model sees an example: its tokens, part by part."""
    from mossa.models.loader import ModelLoader
    from mossa.models.seen import as_seen
    from mossa.study import checked
    from mossa.study.paths import resolve
    from mossa.study.schema import Base, Prompt

    settings = checked(Base, model=resolve(str(base), Path())) if study is None or base is not None else study.base
    form = ModelLoader(settings, "cpu").format(study.prompt if study else Prompt())
    return lambda example: as_seen(form, example)
