"""What one process keeps in memory between units: the tasks as tokens, the base, and the adapter that is on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mossa.models.base import LoadedBase, load_config, longest_input
from mossa.models.batches import Allowance
from mossa.models.loader import ModelLoader
from mossa.models.prompts import Encoded, PromptFormat, make_format
from mossa.steps.device import computing_device, free_cached, prepare_gpu
from mossa.steps.job import Job, Share
from mossa.store.tensors import map_tensors
from mossa.study.schema import BASE, Kind
from mossa.tasks.task import Example
from mossa.training.loss import Scores
from mossa.training.team import ALONE, joined
from mossa.units.models import existing_models

Split = Literal["train", "validation", "test"]


class DamagedUnit(Exception):
    """A landed unit is not as it was written; it must be done again before anything is made from it."""

    def __init__(self, identifier: str, what: str) -> None:
        super().__init__(identifier, what)
        self.identifier, self.what = identifier, what


class StepContext:
    """Loads each thing once, when it is first needed."""

    def __init__(self, job: Job, device: str) -> None:
        self.study, self.run, self.marks, self.device = job.study, job.run, job.marks, device
        self.rendering = job.rendering
        self.tasks = {task.name: task for task in job.tasks}
        self.on_progress: Callable[..., None] | None = None  # hears (done, total), and the loss of a training
        self.team = ALONE  # the processes that share the unit under way
        self.scores: tuple[str, Scores] | None = None  # of the targets behind the prompts represented last, by unit
        self._allowances: dict[str, Allowance] = {}
        prepare_gpu(device)
        self.begin()
        self._encoded: dict[tuple[str, Split, bool], list[Encoded]] = {}
        self._attached: str | None = None
        self._loader = ModelLoader(job.study.base, device)
        self._model: Any = None
        self._sound: set[str] = set()

    @cached_property
    def _existing(self) -> dict[str, tuple[Kind, str]]:
        return existing_models(self.study, list(self.tasks.values()))

    @property
    def tokenizer(self) -> Any:
        """Return the base's tokenizer, which feeds all models."""
        return self._loader.tokenizer

    @property
    def base(self) -> LoadedBase:
        """Return the base, loaded once for all adapters."""
        with self._preparing():
            return self._loader.base

    def size(self) -> dict[str, int]:
        """Return, for the manifest, how many parameters the base has, if it is in memory."""
        return {"parameters": found} if (found := self._loader.parameters) else {}

    @cached_property
    def format(self) -> PromptFormat:
        """Return how prompts become tokens."""
        longest = longest_input(load_config(self.study.base), self.tokenizer)
        return make_format(self.tokenizer, self.study.prompt, longest, self.rendering)

    def encoded(self, task: str, split: Split, with_target: bool) -> list[Encoded]:
        """Return a task's examples as tokens; those that do not fit are absent, their `index` tells which."""
        key = (task, split, with_target)
        if key not in self._encoded:
            examples: tuple[Example, ...] = getattr(self.tasks[task], split)
            self._encoded[key] = self.format.encode(examples, f"task {task!r}, {split}", with_target)
        return self._encoded[key]

    def model(self, name: str) -> Any:
        """Return the model called `name` in the study, attached and in evaluation mode, until another is asked for."""
        if self._attached != name:
            self.detach()
            with self._preparing():
                self._model = self._attach(name)
            self._attached = name
        return self._model

    def is_checkpoint(self, name: str) -> bool:
        """Tell whether a model of the study is a whole one, and no adapter on the base."""
        return name in self._existing and self._existing[name][0] == "checkpoint"

    def detach(self) -> None:
        """Take off whatever adapter is on the base."""
        self._attached = self._model = None
        self._loader.put_back()

    def sound_folder(self, identifier: str) -> Path:
        """Return the folder of a landed unit; raises `DamagedUnit` if it is not as planned or not as it was written."""
        if identifier not in self._sound:
            damage = self.run.damage(identifier, self.marks[identifier])
            if damage:
                raise DamagedUnit(identifier, damage)
            self._sound.add(identifier)
        return self.run.folder(identifier)

    def representations(self, name: str, task: str) -> dict[str, Any]:
        """Return `representations` [n, L, d] and `index` [n] (places in the test split) of a model on a task."""
        return map_tensors(self.sound_folder(f"represent/{name}@{task}") / "representations.safetensors")

    @contextmanager
    def sharing(self, share: Share) -> Iterator[None]:
        """Do what is in the block together with the other workers that have a share of it."""
        if share.size == 1:
            yield
            return
        try:
            with joined(share.rank, share.size, share.meeting, computing_device(self.device)) as self.team:
                yield
        finally:
            self.team = ALONE

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        """Add what the block takes to the time in which the model of the unit was made ready."""
        start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.preparation["seconds"] += time.perf_counter() - start[0]
            self.preparation["processor_seconds"] += time.process_time() - start[1]

    def begin(self, step: str = "") -> None:
        """Begin with a unit of this step.

        On the CPU what it gives depends on none before it, so batches are full again. On a GPU, where a batch that does
        not fit costs a pass and numbers are not the same to the bit anyway, they stay as small as this step needed.
        """
        free_cached()
        on_gpu = computing_device(self.device).type == "cuda"
        self.allowance = self._allowances.setdefault(step, Allowance()) if on_gpu else Allowance()
        self.preparation = {"seconds": 0.0, "processor_seconds": 0.0}

    def _attach(self, name: str) -> Any:
        if name == BASE:
            return self._loader.take("base", "")
        if name in self._existing:
            return self._loader.take(*self._existing[name])
        return self._loader.take("adapter", self.sound_folder(f"train/{name}") / "adapter")
