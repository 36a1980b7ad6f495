"""What is compared: a base with one model after the other that was tuned from it, and the examples of each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mossa.errors import ModelError
from mossa.models.adapter_config import named_base
from mossa.models.base import load_checkpoint, load_config, load_tokenizer
from mossa.models.conversations import tell_systems_without_place
from mossa.models.dtype import settled
from mossa.models.gguf import gguf_parts
from mossa.models.hub import adapter_folder, stored
from mossa.models.load_report import note
from mossa.models.loader import ModelLoader, kind_of
from mossa.models.prompts import Encoded, PromptFormat
from mossa.place import Stack
from mossa.study import checked
from mossa.study.paths import resolve
from mossa.study.schema import Base
from mossa.tasks.task import Task


class PairLoader:
    """Loads a base (folder, hub id, GGUF file, `tinyflan:NAME`, or an adapter, which names its own base) once.

    Raises `ModelError` if it cannot be loaded.
    """

    def __init__(self, base: str, dtype: Literal["float32", "bfloat16"], device: str, what: str = "BASE") -> None:
        place = resolve(base, Path())
        self.adapter = place if kind_of(place, what) == "adapter" else None
        root = named_base(adapter_folder(place), base) if self.adapter else place
        self.settings, _ = settled(checked(Base, model=resolve(root, Path()), dtype=dtype))
        self.loader = ModelLoader(self.settings, device)
        self._second: ModelLoader | None = None  # for a tuned adapter if the base is an adapter too

    def stack(self, tuned: str, what: str = "TUNED") -> Stack:
        """Return the base and `tuned` as one stack, to be used until the next is asked for.

        Raises `ModelError`, beginning with `what`, if the model cannot be loaded, or differs from the base in family,
        tokenizer or architecture.
        """
        place = resolve(tuned, Path())
        kind = kind_of(place, what)
        self._check_tokenizer(place, f"{what} {tuned}")
        if kind == "checkpoint":
            self._check_family(place, f"{what} {tuned}")
            base = self._base()
            return Stack(base, load_checkpoint(place, self.settings, self.loader.tokenizer, self.loader.device))
        if self.adapter is None:
            return Stack(None, self.loader.take("adapter", place))
        self._second = self._second or ModelLoader(self.settings, self.loader.device)
        return Stack(self._base(), self._second.take("adapter", place))

    def _base(self) -> Any:
        return self.loader.take("adapter", self.adapter) if self.adapter else self.loader.base.model

    def _check_family(self, place: str, what: str) -> None:
        theirs = load_config(self.settings.model_copy(update={"model": place, "revision": None}), what).model_type
        mine = load_config(self.settings).model_type
        if mine != theirs:
            raise ModelError(f"{what} is a {theirs!r} model and the base a {mine!r}. Give a model tuned from the base.")

    def _check_tokenizer(self, place: str, what: str) -> None:
        """Compare a model's own tokenizer, if it has one, with the base's, which feeds both."""
        if not gguf_parts(place) and not stored(place, "tokenizer_config.json", None, what):
            return
        own = load_tokenizer(self.settings.model_copy(update={"model": place, "revision": None}), what)
        mine, theirs = self.loader.tokenizer.get_vocab(), own.get_vocab()
        if differ := sorted(token for token, number in mine.items() if theirs.get(token) != number):
            raise ModelError(
                f"{what} has another tokenizer than the base: {len(differ):,} of the base's {len(mine):,} tokens are "
                f"not the same there, such as {differ[0]!r}. Give a model tuned from the base."
            )
        if own.chat_template != self.loader.tokenizer.chat_template:
            note(f"{what} has another chat template than the base; both get what the base's tokenizer makes.")


@dataclass(frozen=True, slots=True)
class TaskExamples:
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


def task_examples(tasks: Sequence[Task], form: PromptFormat, count: int) -> Iterator[TaskExamples]:
    """Yield of each task `count` of its test examples, spread evenly over them."""
    for task in tasks:
        there = len(task.test)
        chosen = [task.test[place * there // min(count, there)] for place in range(min(count, there))]
        encoded = form.encode(chosen, f"task {task.name!r}", with_target=True)
        tell_systems_without_place(form, chosen)
        labels = [chosen[each.index].template for each in encoded]
        known = [label for label in labels if label is not None]
        yield TaskExamples(task, len(task.test), len(chosen), encoded, known if len(known) == len(labels) else None)
