"""Tasks whose examples lie in a file: a process that is given them holds only what it looks at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from mossa.errors import RunFolderError
from mossa.tasks.task import Example, Task, as_line

SPLITS = ("train", "validation", "test")


class StoredTask(Task):
    """A task whose examples are read when they are looked at: `train` each time, and the other splits once.

    What is read is what the hash of the split was taken of; raises `RunFolderError` if it is not.
    """

    def __init__(self, task: Task, path: Path, places: dict[str, tuple[int, int]]) -> None:
        kept = {"name": task.name, "cluster": task.cluster, "left_out": task.left_out, "notes": task.notes}
        self.__dict__.update(kept, hashes=task.hashes, path=path, places=places)

    @property
    def train(self) -> tuple[Example, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the examples to train on; not kept, for they are most of the text and few units need them."""
        return self._read("train")

    @cached_property
    def validation(self) -> tuple[Example, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the examples that a criterion is judged on."""
        return self._read("validation")

    @cached_property
    def test(self) -> tuple[Example, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the examples that models are compared on."""
        return self._read("test")

    def _read(self, split: str) -> tuple[Example, ...]:
        path: Path = self.__dict__["path"]
        begin, size = self.__dict__["places"][split]
        try:
            with path.open("rb") as file:
                file.seek(begin)
                text = file.read(size)
        except OSError as error:
            raise RunFolderError(
                f"{path}, which holds the data of this run, cannot be read: {error}. Run again."
            ) from error
        if hashlib.sha256(text).hexdigest() != self.hashes[split]:
            raise RunFolderError(f"{path}: {split} of task {self.name!r} is not what was planned with. Run again.")
        return tuple(map(_example, text.split(b"\n")[:-1]))


def store_tasks(tasks: Sequence[Task], path: Path) -> list[Task]:
    """Write the examples of all tasks to a new file, and return the tasks as any process can read them there."""
    with path.open("xb") as file:
        return [
            StoredTask(task, path, {split: _append(file, getattr(task, split)) for split in SPLITS}) for task in tasks
        ]


def _append(file: BinaryIO, examples: Iterable[Example]) -> tuple[int, int]:
    """Write examples to the end of a file; return where they begin and how many bytes they are."""
    begin = file.tell()
    file.writelines(map(as_line, examples))
    return begin, file.tell() - begin


def _example(line: bytes) -> Example:
    prompt, target, template, *before = json.loads(line.decode("utf-8", "surrogatepass"))
    return Example(prompt, target, template, tuple((who, text) for turns in before for who, text in turns))
