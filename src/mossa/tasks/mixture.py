"""The training examples of an experimental model: a mixture of tasks with a cap per task cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mossa.errors import DataError, choices
from mossa.tasks.task import Example, Task


def chosen_tasks(
    tasks: Sequence[Task], mixture: Literal["all"] | list[str], hold_out: Sequence[str], place: str
) -> list[Task]:
    """Return the tasks of a mixture: those that `mixture` names (tasks or clusters) without those in `hold_out`.

    Raises `DataError`, naming `place`, for an unknown name or if nothing is left.
    """
    wanted = {task.name for task in tasks} if mixture == "all" else named_tasks(tasks, mixture, f"{place}.mixture")
    wanted -= named_tasks(tasks, hold_out, f"{place}.hold_out")
    if not wanted:
        raise DataError(f"{place}: nothing is left to tune on after hold_out.")
    return [task for task in tasks if task.name in wanted]


def named_tasks(tasks: Sequence[Task], names: Sequence[str], place: str) -> set[str]:
    """Return the tasks that `names` (of tasks or clusters) mean; raises `DataError` for an unknown one."""
    clusters = {task.cluster for task in tasks}
    found: set[str] = set()
    for name in names:
        meant = {task.name for task in tasks if name in (task.name, task.cluster)}
        if not meant:
            known = clusters | {task.name for task in tasks}
            raise DataError(f"{place}: {name!r} is neither a task nor a cluster. {choices(name, known)}")
        found |= meant
    return found


def mix(tasks: Sequence[Task], cap_per_cluster: int | None, seed: int) -> list[Example]:
    """Return the training examples of all `tasks`, at most `cap_per_cluster` from each task cluster, drawn by `seed`.

    Within a capped cluster every example is as likely as any other (section 4.1 of the paper: 50,000 per cluster).
    """
    clusters: dict[str, list[Example]] = {}
    for task in tasks:
        clusters.setdefault(task.cluster, []).extend(task.train)
    mixed: list[Example] = []
    for number, cluster in enumerate(sorted(clusters)):
        examples = clusters[cluster]
        if cap_per_cluster is not None and len(examples) > cap_per_cluster:
            drawn = np.random.default_rng([seed, number]).permutation(len(examples))[:cap_per_cluster]
            examples = [examples[index] for index in sorted(drawn.tolist())]
        mixed.extend(examples)
    return mixed


def shuffle_answers(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the same prompts in the same order, each with the answer of another example, drawn by `seed`.

    Every answer is used once, so what can be learned from answers alone stays the same.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    answer = np.empty(len(examples), dtype=int)
    answer[order] = np.roll(order, 1)
    return [replace(each, target=examples[answer[place]].target) for place, each in enumerate(examples)]
