"""What each runner has taken on, so that no unit is done twice.

A claim is a hard link from `.claims/<what>.<generation>` to the file of the runner that has it. Making a link is
atomic and refused if the name exists, also over NFS, and the link tells whatever the runner's file tells: that it
lives, that it has left, that it was lost. A claim whose runner is lost is taken over by making the next generation's
link, which again only one can make; no generation is ever removed while anybody is at work, so who comes late cannot
mistake an old state for a new one. A claim that is let go is replaced by an empty file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mossa.run.engines.runners import Observer, Runner


class Claims:
    """What this runner has taken on in its run folder."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.run = runner, runner.run
        self.observer = Observer()
        self.newest: dict[str, int] = {}  # generation seen last
        self.held: dict[str, int] = {}  # generation of what this runner has

    def take(self, what: str) -> bool:
        """Take on `what`, unless a runner that may still live has it; tidy up after a lost one."""
        while True:
            number = self._newest(what)
            if number is None:
                return self._link(what, 0)
            path = self._path(what, number)
            card, lives = self.observer.look(path)
            if lives is not False:
                return False
            if self._link(what, number + 1):
                if card is not None:
                    self.run.clear_after(card.token)
                return True

    def release(self, what: str) -> None:
        """Let go of what this runner has taken on."""
        free = self.run.scratch()
        free.touch()
        free.replace(self._path(what, self.held.pop(what)))

    @contextmanager
    def held_alone(self, what: str) -> Iterator[None]:
        """Hold `what` for the length of the block; waits for whoever has it."""
        while not self.take(what):
            time.sleep(0.5)
        try:
            yield
        finally:
            self.release(what)

    def _newest(self, what: str) -> int | None:
        number = self.newest.get(what, 0)
        if not self._path(what, number).exists():
            return None
        while self._path(what, number + 1).exists():
            number += 1
        self.newest[what] = number
        return number

    def _link(self, what: str, number: int) -> bool:
        path = self._path(what, number)
        with self.run.writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.hardlink_to(self.runner.path)
            except FileExistsError:
                if not path.samefile(self.runner.path):  # the same: the link was made, but its answer was lost
                    return False
        self.held[what] = number
        return True

    def _path(self, what: str, number: int) -> Path:
        return self.run.claims / f"{what}.{number}"
