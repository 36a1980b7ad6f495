"""What every worker of a run is given, and with a unit that it shares with others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mossa.models.rendering import Rendering
from mossa.store.folder import RunFolder
from mossa.study.schema import StudySettings
from mossa.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Job:
    """The study, its tasks as they were planned, the folder, and the fingerprint of each unit (`marks`).

    The tasks travel with it, so that no worker can read other data than those the units were planned with: to processes
    of this machine as `StoredTask`, which compares what it reads with the planned hashes. `rendering` is what stands
    around every prompt; without one, it is rendered anew.
    """

    study: StudySettings
    tasks: list[Task]
    run: RunFolder
    marks: dict[str, str]
    rendering: Rendering | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A worker's place in a unit that `size` workers do together; they meet over a file that all of them see."""

    rank: int = 0
    size: int = 1
    meeting: Path = Path()


WHOLE = Share()  # of a unit that one worker does
