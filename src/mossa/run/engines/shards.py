"""The queue of one shard: several runners, each with a queue of its own, do the units of one folder between them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import ClassVar

from mossa.run.engines.runners import Runner
from mossa.run.queue import Queue
from mossa.units.unit import Unit

PAUSE = 0.5  # seconds between two looks at the folder when there is nothing to do


class SharedQueue(Queue):
    """Gives only units that this shard has claimed, and learns from the folder what the others did.

    `damaged` are units to do although they have landed, if they are damaged indeed; `retried` those to do although they
    have failed before. `on_failure` hears of each unit that failed in another shard.
    """

    pause: ClassVar[float | None] = PAUSE

    def __init__(
        self,
        units: dict[str, Unit],
        todo: Iterable[str],
        marks: dict[str, str],
        runner: Runner,
        shard: int,
        on_failure: Callable[[str, str], None],
    ) -> None:
        super().__init__(units, todo)
        self.marks, self.runner, self.shard, self.on_failure = marks, runner, shard, on_failure
        self.run = runner.run
        self.damaged: set[str] = set()
        self.retried: set[str] = set()

    def next(self, loaded: str | None = None) -> Unit | None:
        """Take the next ready unit that nobody has and that has not been done meanwhile."""
        found = True
        while found:  # what others did makes more units ready
            found = self._learn()
            ready = self.ready(loaded)
            start = (self.shard - 1) % len(ready) if ready and not self.running else 0
            for unit in ready[start:] + ready[:start]:  # shards that start together reach for different units
                if not self.runner.take(unit.id):
                    continue
                if not self._settled(unit.id, mine=True):  # looked at again, now that nobody else can change it
                    self.running.add(unit.id)
                    return unit
                self.runner.release(unit.id)
                found = True
        return None

    def wait(self) -> bool:
        """Wait a little for the other shards; False if there is nothing left that they could do."""
        if self.todo:
            time.sleep(PAUSE)
        return bool(self.todo)

    def done(self, name: str) -> None:
        """Take a finished unit off the queue, and let go of it."""
        self._let_go(name)
        self.damaged.discard(name)
        super().done(name)

    def again(self, name: str, damaged: str | None = None) -> None:
        """Put a unit back; after `damaged`, an input that must be done again by the first run to claim it."""
        self._let_go(name)
        self.running.discard(name)
        self.todo.add(name)
        if damaged:
            self.todo.add(damaged)
            self.damaged.add(damaged)

    def _let_go(self, name: str) -> None:
        if name in self.running:
            self.runner.release(name)

    def _learn(self) -> bool:
        """Take units off the queue that others have done; tell whether there were any."""
        return bool([unit for unit in self.ready() if self._settled(unit.id)])

    def _settled(self, name: str, mine: bool = False) -> bool:
        """Look in the folder; take the unit off the queue if there is nothing left to do about it."""
        status = self.run.status(self.units[name], self.marks[name])
        if name in self.damaged:
            if not mine or self.run.damage(name) is not None:
                return False
        elif status.state == "failed" and name not in self.retried:
            self.on_failure(name, status.why)
            self.fail(name, status.why)
            return True
        elif status.state != "done":
            return False
        self.done(name)
        return True


def falls_to(name: str, shard: int, shards: int) -> bool:
    """Tell whether it falls to shard `shard` of `shards` to look after this unit, where each needs exactly one."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % shards == shard - 1
