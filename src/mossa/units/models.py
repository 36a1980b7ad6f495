"""The models of a study: names and roles, which exist already, what each was tuned on, and whether place is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from mossa.errors import StudyError, choices
from mossa.models.files import adapter_fingerprint, base_fingerprint
from mossa.names import LONGEST_NAME, check_name
from mossa.study.recipe import Budget
from mossa.study.schema import BASE, Existing, Experimental, Kind, StudySettings
from mossa.tasks.mixture import chosen_tasks, named_tasks
from mossa.tasks.task import Task

PROMPTS = 128  # per task, for the change that each layer makes
GRAFTED = 32  # per task, for the losses of models with exchanged layers
PASSES = 300  # forward passes of a graft of 30 layers; fewer layers take fewer (docs/explanation/place.md)
TRAINING_PASSES = 3  # forward passes that one training example costs
SHARE = 0.2  # of the study's work, above which place is read only where the study says so


def control_name(task: str, seed: int) -> str:
    """Return the name of the control model of `task` trained with `seed`."""
    return f"control-{task}-seed{seed}"


def sham_name(task: str, seed: int) -> str:
    """Return the name of the control of `task` that is trained on shuffled answers."""
    return f"sham-{task}-seed{seed}"


def check_names(study: StudySettings, tasks: Sequence[Task]) -> None:
    """Raise `StudyError` if the control model of a task would have a name that no unit's folder can have."""
    longest = LONGEST_NAME - len(control_name("", max(study.control.seeds)))
    for task in tasks:
        check_name(task.name, "task", "tasks")
        if len(task.name) > longest:
            raise StudyError(
                f"task {task.name!r} has a name of {len(task.name)} characters; with the seed "
                f"{max(study.control.seeds)} in the name of its control model it may have {longest}. Rename it."
            )


def role(study: StudySettings, name: str) -> str:
    """Return what a model is in the study: `base`, `experimental`, `control` or `sham`."""
    if name == BASE or name in study.experimental:
        return "base" if name == BASE else "experimental"
    return "sham" if name.startswith("sham-") else "control"


def existing_models(study: StudySettings, tasks: Sequence[Task]) -> dict[str, tuple[Kind, str]]:
    """Return (`adapter` or `checkpoint`, folder or hub id) of every existing model, by its name in tables.

    Raises `StudyError` if control.existing names a task that the study does not have.
    """
    names = [task.name for task in tasks]
    given: dict[str, Existing | Experimental] = {
        name: model for name, model in study.experimental.items() if model.adapter or model.checkpoint
    }
    for task, models in study.control.existing.items():
        if task not in names:
            raise StudyError(f"control.existing: the study has no task {task!r}. {choices(task, names)}")
        given |= {control_name(task, seed): model for seed, model in zip(study.control.seeds, models, strict=True)}
    return {
        name: ("adapter", model.adapter) if model.adapter else ("checkpoint", str(model.checkpoint))
        for name, model in given.items()
    }


def saw(study: StudySettings, tasks: Sequence[Task], name: str) -> set[str]:
    """Return the names of the tasks that experimental model `name` was tuned on; all of them for the base."""
    model = study.experimental[name]
    if model.mixture is not None:
        return {task.name for task in chosen_tasks(tasks, model.mixture, model.hold_out, f"experimental.{name}")}
    if model.base or model.saw == "all":
        return {task.name for task in tasks}
    return named_tasks(tasks, model.saw, f"experimental.{name}.saw")


def other_controls(study: StudySettings, tasks: Sequence[Task], task: Task) -> list[str]:
    """Return controls of other tasks, drawn by seed; from other clusters as far as there are any.

    The draw is by a hash of the names, so a task that joins the study changes few of the others' nulls.
    """

    def draw(other: Task) -> tuple[bool, str]:
        drawn = hashlib.sha256(f"{study.similarity.seed} {task.name} {other.name}".encode()).hexdigest()
        return other.cluster == task.cluster, drawn

    others = sorted((other for other in tasks if other.name != task.name), key=draw)
    return [control_name(other.name, study.control.seeds[0]) for other in others[: study.similarity.other_controls]]


def identity(study: StudySettings, kind: str, source: str) -> dict[str, Any]:
    """Return what identifies an existing model: the content of its files, or its commit on the hub."""
    if kind == "adapter":
        return {kind: adapter_fingerprint(source)}
    settings = study.base.model_copy(update={"model": source, "revision": None})
    return {kind: base_fingerprint(settings, kind, tokenizer=False)}  # it is fed what the base's tokenizer gives


def rendered_from(study: StudySettings) -> str:
    """Return a hash of what the study's prompts are rendered from: the base with its tokenizer, template and system."""
    sources = [base_fingerprint(study.base), study.prompt.template, study.prompt.system]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def located(study: StudySettings, tasks: Sequence[Task]) -> list[str]:
    """Return the experimental models whose layers are located: all that are tuned, or none.

    Without `place` in the study, all if that takes less than a fifth of its work, counted in examples that go through
    the model, as if the base had 30 layers.
    """
    names = [name for name, model in study.experimental.items() if not model.base]
    wanted = study.place if study.place is not None else _work(study, tasks, len(names)) < SHARE
    return names if wanted else []


def _work(study: StudySettings, tasks: Sequence[Task], models: int) -> float:
    """Return the share that place would have in the work of the study, place included."""
    tests = sum(len(task.test) for task in tasks)
    place = models * sum(4 * min(len(t.test), PROMPTS) + PASSES * min(len(t.test), GRAFTED) for t in tasks)
    control = study.control.budget or study.recipe.budget
    trained = len(study.control.seeds) * sum(_examples(control, len(task.train), study) for task in tasks)
    for name, model in study.experimental.items():
        if model.mixture is not None:
            trained += _examples(model.budget or study.recipe.budget, _mixed(tasks, name, model), study)
    rest = TRAINING_PASSES * trained + 2 * tests * (1 + models + len(study.control.seeds))
    return place / (place + rest) if place else 0.0


def _examples(budget: Budget, there: int, study: StudySettings) -> float:
    """Return how many examples a training sees at most; those of a budget in tokens are counted as one epoch."""
    steps = budget.until.at_most_steps if budget.until else budget.steps
    return steps * study.recipe.batch_size if steps else math.ceil((budget.epochs or 1) * there)


def _mixed(tasks: Sequence[Task], name: str, model: Experimental) -> int:
    chosen = chosen_tasks(tasks, model.mixture or "all", model.hold_out, f"experimental.{name}")
    return sum(len(task.train) for task in chosen)
