"""TinyFLAN's tasks with their examples: prompts worded by templates, and splits that share no input."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from mossa.errors import DataError, choices
from mossa.tasks.task import Example, Task
from mossa.tinyflan.catalogue import CLUSTERS, CUE, Specification, draw, specification, specifications

TEMPLATES = 10
# After this many draws without a new input, none is taken to be left.
PATIENCE = 20_000


def task_names(clusters: Sequence[str] | None = None) -> list[str]:
    """Return the names of all tasks, or of those in `clusters`, in the order of the clusters.

    Raises `DataError` with the choices if a cluster is unknown.
    """
    for cluster in clusters or ():
        if cluster not in CLUSTERS:
            raise DataError(f"TinyFLAN has no cluster {cluster!r}. {choices(cluster, CLUSTERS)}")
    return [task.name for task in specifications().values() if clusters is None or task.cluster in clusters]


def load_tasks(
    names: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    train: int = 300,
    validation: int = 60,
    test: int = 200,
    templates: int = TEMPLATES,
    seed: int = 0,
) -> list[Task]:
    """Return the tasks called `names`, or those of `clusters`, or all 60, with so many examples per split.

    The split of an input never changes with the seed or the sizes, and no split holds an input twice. Templates take
    turns. A larger split begins with the smaller one of the same seed.

    Raises `DataError` with the choices for an unknown task or cluster, for both `names` and `clusters`, for more
    templates than there are, and for more examples than a task has.
    """
    if names is not None and clusters is not None:
        raise DataError("TinyFLAN: give the names of tasks or of clusters, not both.")
    if not 1 <= templates <= TEMPLATES:
        raise DataError(f"TinyFLAN: templates = {templates}, but every task has {TEMPLATES}. Choose 1 to {TEMPLATES}.")
    sizes = {"train": train, "validation": validation, "test": test}
    for split, size in sizes.items():
        if size < 0:
            raise DataError(f"TinyFLAN: {split} = {size}, but a split has 0 examples or more.")
    chosen = task_names(clusters) if names is None else list(names)
    if repeated := sorted({name for name in chosen if chosen.count(name) > 1}):
        raise DataError(f"TinyFLAN: the task {repeated[0]!r} is asked for twice. Name every task once.")
    return [load_task(specification(name), sizes, templates, seed) for name in chosen]


def load_task(task: Specification, sizes: dict[str, int], templates: int, seed: int) -> Task:
    """Return one task with `sizes[split]` examples per split."""
    splits: dict[str, tuple[Example, ...]] = {}
    for split, size in sizes.items():
        # A stream per split, so that the size of one never moves another.
        rng = Random(f"tinyflan {task.name} {split} {seed}")
        seen: set[str] = set()
        examples: list[Example] = []
        idle = 0
        while len(examples) < size:
            drawn = draw(task, rng)
            if drawn.split != split or drawn.identity in seen:
                idle += 1
                if idle > PATIENCE:
                    raise DataError(
                        f"TinyFLAN: {task.name} has only about {len(seen)} different inputs for {split}, "
                        f"not {size}. Ask for fewer."
                    )
                continue
            idle = 0
            seen.add(drawn.identity)
            number = len(examples) % templates
            prompt = task.templates[number].format(**drawn.words) + CUE
            examples.append(Example(prompt, drawn.target, f"{task.name}-{number}"))
        splits[split] = tuple(examples)
    return Task(task.name, task.cluster, splits["train"], splits["validation"], splits["test"])
