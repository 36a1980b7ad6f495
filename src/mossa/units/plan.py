"""Turns a study into its units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mossa.models.files import base_fingerprint
from mossa.models.rendering import Rendering
from mossa.similarity.registry import estimator
from mossa.study.recipe import Budget
from mossa.study.schema import BASE, Experimental, StudySettings
from mossa.tasks.mixture import chosen_tasks
from mossa.tasks.task import Task
from mossa.units.models import (
    GRAFTED,
    PROMPTS,
    check_names,
    control_name,
    existing_models,
    identity,
    located,
    other_controls,
    saw,
    sham_name,
)
from mossa.units.unit import Unit

# Raised whenever a step would give another result from the same settings; units of an older version are redone.
VERSIONS = {
    "describe": 2,
    "train": 3,
    "represent": 3,
    "evaluate": 2,
    "compare": 5,
    "overview": 2,
    "common": 3,
    "affinity": 2,
    "place": 3,
}
SHOWN_PROMPTS = 5  # per task: the first of its test set, kept with their targets and with what every model answers
PROJECTED_DEPTHS = (0.03, 0.31, 0.47, 0.63, 1.0)  # shares of L; layers 1, 10, 15, 20 and 32 of 32, as in figure 4


def plan(study: StudySettings, tasks: Sequence[Task], rendering: Rendering | None = None) -> dict[str, Unit]:
    """Return all units of the study by id, in an order in which inputs come before what reads them.

    `rendering` is the text around the prompts; without it the units can be counted, but not run. Raises `MossaError` if
    a name in the study means no task or no estimator, or an existing model cannot be read.
    """
    check_names(study, tasks)
    for identifier in study.similarity.estimators or ():
        estimator(identifier)
    base = {"weights": base_fingerprint(study.base), "dtype": study.base.dtype}
    if study.base.quantise:
        base["quantise"] = study.base.quantise
    context = {
        "base": base,
        "prompt": study.prompt.model_dump(mode="json") | ({"rendered": rendering.hash} if rendering else {}),
    }
    seeds = study.control.seeds
    units: list[Unit] = []
    for name, model in study.experimental.items():  # the longest trainings first: no worker waits for them at the end
        if model.mixture is not None:
            units.append(_train_mixture(study, tasks, name, model, context))
    existing = {name: identity(study, kind, source) for name, (kind, source) in existing_models(study, tasks).items()}
    existing[BASE] = {}  # represented in any case: controls are judged and changes measured against it
    units += [
        _train_control(study, task, seed, context)
        for seed in seeds
        for task in tasks
        if control_name(task.name, seed) not in existing
    ]
    shams = {task.name: sham_name(task.name, seeds[0]) for task in tasks if study.control.sham}
    units += [_train_sham(study, task, context) for task in tasks if task.name in shams]
    controls = {task.name: [control_name(task.name, seed) for seed in seeds] for task in tasks}
    others = {task.name: other_controls(study, tasks, task) for task in tasks}
    everywhere = dict.fromkeys([BASE, *study.experimental])
    for name in dict.fromkeys([*everywhere, *(name for names in controls.values() for name in names)]):
        for task in tasks:
            if name in everywhere or name in controls[task.name] + others[task.name]:
                units.append(_on_task("represent", name, task, study, context, existing))
            if name in everywhere or name in controls[task.name]:
                units.append(_on_task("evaluate", name, task, study, context, existing))
        if name in everywhere:  # long, so begun as soon as they can: what follows is short and fills all workers
            units.append(_overview(name, tasks))
    for task in tasks:
        own = [shams[task.name]] if task.name in shams else []
        for step in ("represent", "evaluate") if own else ():
            units.append(_on_task(step, own[0], task, study, context, existing))
        units.append(_compare(study, tasks, task, controls[task.name], others[task.name], own))
    if study.similarity.affinity:
        units += _affinity(study, tasks, context, existing)
    units += [_place(study, tasks, task, name, context, existing) for name in located(study, tasks) for task in tasks]
    units += [_describe(task, context) for task in tasks]
    return {unit.id: unit for unit in units}


def _train_mixture(
    study: StudySettings, tasks: Sequence[Task], name: str, model: Experimental, context: dict[str, Any]
) -> Unit:
    mixed = chosen_tasks(tasks, model.mixture or "all", model.hold_out, f"experimental.{name}")
    budget = model.budget or study.recipe.budget
    settings = {
        **_training(study, budget, mixed, model.seed, context),
        "cap_per_cluster": model.cap_per_cluster,
        "clusters": {task.name: task.cluster for task in mixed},
        "role": "experimental",
    }
    return Unit("train", name, settings)


def _train_control(study: StudySettings, task: Task, seed: int, context: dict[str, Any]) -> Unit:
    budget = study.control.budget or study.recipe.budget
    settings = {**_training(study, budget, [task], seed, context), "role": "control"}
    return Unit("train", control_name(task.name, seed), settings)


def _train_sham(study: StudySettings, task: Task, context: dict[str, Any]) -> Unit:
    """Return the training of a sham control: as that of the control of the first seed, with as many steps."""
    seed = study.control.seeds[0]
    trained = _train_control(study, task, seed, context)
    return Unit("train", sham_name(task.name, seed), {**trained.settings, "role": "sham"}, (trained.id,))


def _training(
    study: StudySettings, budget: Budget, tasks: Sequence[Task], seed: int, context: dict[str, Any]
) -> dict[str, Any]:
    recipe = study.recipe.model_dump(mode="json", exclude={"checkpoint_every", "budget"})
    if recipe["gradient_checkpointing"] == "auto":
        recipe["gradient_checkpointing"] = False  # the memory of a machine decides, and the gradient is the same
    if study.recipe.lora.layers is None:
        del recipe["lora"]["layers"]  # an adapter on all layers is what it was before layers could be chosen
    settings: dict[str, Any] = {
        **context,
        "version": VERSIONS["train"],
        "recipe": recipe,
        "budget": budget.model_dump(mode="json", exclude_none=True),
        "seed": seed,
        "train": {task.name: task.hashes["train"] for task in tasks},
    }
    if budget.until is not None:
        settings["validation"] = {task.name: task.hashes["validation"] for task in tasks}
    return settings


def _on_task(
    step: str, name: str, task: Task, study: StudySettings, context: dict[str, Any], existing: dict[str, dict[str, Any]]
) -> Unit:
    settings: dict[str, Any] = {**context, "version": VERSIONS[step], "test": task.hashes["test"]}
    settings |= existing.get(name, {})
    if step == "evaluate":
        settings |= {"cluster": task.cluster, "replies": SHOWN_PROMPTS}
    if step == "represent":
        settings |= _representations(study)
    inputs, key = () if name in existing else (f"train/{name}",), f"{name}@{task.name}"
    after = f"represent/{key}" if step == "evaluate" and study.one_pass else None
    return Unit(step, key, settings, inputs, model=name, after=after)


def _representations(study: StudySettings) -> dict[str, Any]:
    """Return what of the study a representation depends on, apart from the base's own format."""
    computed = {"computed_in": study.represented_in} if study.represented_in != study.base.dtype else {}
    return {"last_layer": study.representations.last_layer, **computed}


def _compare(
    study: StudySettings, tasks: Sequence[Task], task: Task, controls: list[str], others: list[str], shams: list[str]
) -> Unit:
    names = list(dict.fromkeys([BASE, *study.experimental, *controls, *others, *shams]))
    settings = {
        "version": VERSIONS["compare"],
        "cluster": task.cluster,
        "similarity": {
            "estimators": study.similarity.chosen(task.templates_hash is not None),
            "shift": study.similarity.shift,
        },
        "experimental": {name: task.name not in saw(study, tasks, name) for name in study.experimental},
        "controls": controls,
        "others": others,
        "templates": task.templates_hash,
    }
    if study.similarity.shift and study.represented_in == "bfloat16":
        settings["rounded"] = "bfloat16"  # shifts that are mostly rounding have no value
    if shams:
        settings["shams"] = shams
    return Unit("compare", task.name, settings, tuple(f"represent/{name}@{task.name}" for name in names))


def _overview(name: str, tasks: Sequence[Task]) -> Unit:
    inputs = [f"represent/{model}@{task.name}" for model in dict.fromkeys([name, BASE]) for task in tasks]
    settings = {
        "version": VERSIONS["overview"],
        "projected_depths": list(PROJECTED_DEPTHS),
        "tasks": {task.name: task.cluster for task in tasks},
        "templates": {task.name: task.templates_hash for task in tasks},
    }
    return Unit("overview", name, settings, tuple(inputs))


def _affinity(
    study: StudySettings, tasks: Sequence[Task], context: dict[str, Any], existing: dict[str, dict[str, Any]]
) -> list[Unit]:
    names = {control_name(task.name, study.control.seeds[0]): task.name for task in tasks}
    settings = {
        **context,
        "version": VERSIONS["common"],
        "test": {task.name: task.hashes["test"] for task in tasks},
        **_representations(study),
    }
    units = [
        Unit("common", name, settings | existing.get(name, {}), () if name in existing else (f"train/{name}",), name)
        for name in names
    ]
    related = {"version": VERSIONS["affinity"], "tasks": names}
    return [*units, Unit("affinity", "controls", related, tuple(unit.id for unit in units))]


def _place(
    study: StudySettings,
    tasks: Sequence[Task],
    task: Task,
    name: str,
    context: dict[str, Any],
    existing: dict[str, Any],
) -> Unit:
    unit = _on_task("place", name, task, study, context, existing)
    unit.settings.update(
        prompts=[PROMPTS, GRAFTED],
        templates=task.templates_hash,
        cluster=task.cluster,
        held_out=task.name not in saw(study, tasks, name),
    )
    return unit


def _describe(task: Task, context: dict[str, Any]) -> Unit:
    settings = {**context, "version": VERSIONS["describe"], "hash": task.content_hash, "cluster": task.cluster}
    settings["left_out"] = dict(task.left_out)
    return Unit("describe", task.name, settings)
