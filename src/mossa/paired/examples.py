"""The examples of each task that both models are given, as tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mossa.models.prompts import Encoded, PromptFormat
from mossa.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Given:
    """The `chosen` examples of a task out of all it `has`, those that fit the model `encoded`, and their templates.

    `templates` is None where one of them is not known.
    """

    task: Task
    has: int
    chosen: int
    encoded: list[Encoded]
    templates: list[str] | None

    @property
    def counted(self) -> str:
        """Return how many examples are used, and how many are not."""
        return f"{len(self.encoded)} of {self.has} examples, {self.chosen - len(self.encoded)} do not fit"


def give(tasks: Sequence[Task], form: PromptFormat, count: int) -> Iterator[Given]:
    """Yield of each task `count` of its test examples, spread evenly over them."""
    for task in tasks:
        chosen = task.test[:: max(1, len(task.test) // count)][:count]
        encoded = form.encode(chosen, f"task {task.name!r}", with_target=True)
        labels = [chosen[each.index].template for each in encoded]
        known = [label for label in labels if label is not None]
        yield Given(task, len(task.test), len(chosen), encoded, known if len(known) == len(labels) else None)
