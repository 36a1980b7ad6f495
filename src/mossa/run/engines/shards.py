"""The queue of one shard: several runs, each with a queue of its own, do the units of one folder between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from mossa.run.engines.runners import Runner
from mossa.run.queue import Queue
from mossa.units.unit import Unit

if TYPE_CHECKING:
    from mossa.run.options import RunOptions
    from mossa.run.run import Prepared

PAUSE = 0.5  # seconds between two looks at the folder when there is nothing to do


class SharedQueue(Queue):
    """Gives only units that this shard has claimed, and learns what the others did when it has claimed one of theirs.

    Each shard looks for damage in its part of the plan, and tries once more what has failed there.
    """

    pause: ClassVar[float | None] = PAUSE

    def __init__(self, prepared: Prepared, options: RunOptions, runner: Runner, say: Callable[[str], None]) -> None:
        assert options.shard
        shard, shards = options.shard
        mine = list(prepared.units)[shard - 1 :: shards]
        self.damaged = set(prepared.damaged(mine))
        self.retried = {name for name in mine if prepared.status[name].state == "failed"}
        todo = {name for name, status in prepared.status.items() if status.state != "done"}
        super().__init__(prepared.units, todo | self.damaged)
        self.run, self.marks, self.runner, self.say = prepared.run, prepared.fingerprints, runner, say

    def next(self, loaded: str | None = None) -> Unit | None:
        """Take the next ready unit that nobody has and that has not been done meanwhile."""
        found = True
        while found:  # what others did makes more units ready
            found = False
            for unit in self.ready(loaded):
                if not self.runner.take(unit.id):
                    continue
                if not self._settled(unit):
                    self.running.add(unit.id)
                    return unit
                found = True
        return None

    def wait(self) -> bool:
        """Wait a little for the other shards; False if there is nothing left that they could do."""
        if self.todo:
            time.sleep(PAUSE)
        return bool(self.todo)

    def done(self, name: str) -> None:
        """Take a finished unit off the queue, and let go of it."""
        super().done(name)
        self.damaged.discard(name)
        self.runner.release(name)

    def again(self, name: str, damaged: str | None = None) -> None:
        """Put a unit back; after `damaged`, what was made from that input is not done again where it has landed."""
        super().again(name, damaged)
        if damaged:
            self.damaged.add(damaged)
        self.runner.release(name)

    def _settled(self, unit: Unit) -> bool:
        """Look in the folder, while nobody else can do the unit, and take it off the queue if others have."""
        status = self.run.status(unit, self.marks[unit.id])
        if status.state == "failed" and unit.id not in self.retried:
            self.say(f"{unit.title} failed in another shard or an earlier run: {status.why}")
            self.fail(unit.id, status.why)
            return True
        if status.state != "done" or (unit.id in self.damaged and self.run.damage(unit.id) is not None):
            return False
        self.done(unit.id)
        return True
