"""Whether a study reads where its experimental models act, and on how many prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mossa.study.recipe import Budget
from mossa.study.schema import Experimental, StudySettings
from mossa.tasks.mixture import chosen_tasks
from mossa.tasks.task import Task

PROMPTS = 128  # per task, for the change that each layer makes
GRAFTED = 32  # per task, for the losses of models with exchanged layers
PASSES = 300  # forward passes of a graft of 30 layers; fewer layers take fewer (docs/place.md)
TRAINING = 3  # forward passes that one training example costs
SHARE = 0.2  # of the study's work, above which place is read only where the study says so


def located(study: StudySettings, tasks: Sequence[Task]) -> list[str]:
    """Return the experimental models whose place is read: all that are tuned, or none.

    Without `place` in the study, all if that takes less than a fifth of its work, counted in examples that go through
    the model, as if the base had 30 layers.
    """
    names = [name for name, model in study.experimental.items() if not model.base]
    wanted = study.place if study.place is not None else _work(study, tasks, len(names)) < SHARE
    return names if wanted else []


def _work(study: StudySettings, tasks: Sequence[Task], models: int) -> float:
    """Return the share of the study's work, place included, that place would be."""
    tests = sum(len(task.test) for task in tasks)
    place = models * sum(4 * min(len(t.test), PROMPTS) + PASSES * min(len(t.test), GRAFTED) for t in tasks)
    control = study.control.budget or study.recipe.budget
    trained = len(study.control.seeds) * sum(_examples(control, len(task.train), study) for task in tasks)
    for name, model in study.experimental.items():
        if model.mixture is not None:
            trained += _examples(model.budget or study.recipe.budget, _mixed(tasks, name, model), study)
    rest = TRAINING * trained + 2 * tests * (1 + models + len(study.control.seeds))
    return place / (place + rest) if place else 0.0


def _examples(budget: Budget, there: int, study: StudySettings) -> float:
    """Return how many examples a training sees at most; those of a budget in tokens are counted as one epoch."""
    steps = budget.until.at_most_steps if budget.until else budget.steps
    return steps * study.recipe.batch_size if steps else math.ceil((budget.epochs or 1) * there)


def _mixed(tasks: Sequence[Task], name: str, model: Experimental) -> int:
    chosen = chosen_tasks(tasks, model.mixture or "all", model.hold_out, f"experimental.{name}")
    return sum(len(task.train) for task in chosen)
