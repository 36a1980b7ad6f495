"""Which unit may be done next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import ClassVar

from mossa.run.events import Outcome
from mossa.units.unit import Unit


def needed(units: dict[str, Unit], wanting: set[str]) -> list[str]:
    """Return `wanting` and every unit that is made, directly or not, from one of them; in the plan's order."""
    found: dict[str, None] = {}
    for name, unit in units.items():
        if name in wanting or any(source in found for source in unit.inputs):
            found[name] = None
    return list(found)


class Queue:
    """The units still to do, in the plan's order; one is ready when nothing that it is done after is still to do."""

    pause: ClassVar[float | None] = (
        None  # seconds after which to ask again when nothing is ready; None if only an outcome helps
    )

    def __init__(self, units: dict[str, Unit], todo: Iterable[str]) -> None:
        self.units = units
        self.todo = set(todo)
        self.running: set[str] = set()
        self.failed: dict[str, str] = {}
        self.order = list(units)

    def next(self, loaded: str | None = None) -> Unit | None:
        """Take the next ready unit, rather one that needs the model that is `loaded` already; None if none is ready."""
        for unit in self.ready(loaded):
            self.running.add(unit.id)
            return unit
        return None

    def ready(self, loaded: str | None = None) -> list[Unit]:
        """Return the units that could be begun now, those that need the model that is `loaded` first."""
        found = [self.units[name] for name in self.order if name in self.todo and self._ready(name)]
        return sorted(found, key=lambda unit: loaded is None or unit.model != loaded)

    def wait(self) -> bool:
        """Wait a little for what others do; False at once if there is nobody to wait for."""
        return False

    def done(self, name: str) -> None:
        """Take a finished unit off the queue."""
        self.running.discard(name)
        self.todo.discard(name)

    def again(self, name: str, damaged: str | None = None) -> None:
        """Put a unit back; after `damaged`, an input that must be done again, with all that was made from it."""
        self.running.discard(name)
        self.todo |= {name, *(needed(self.units, {damaged}) if damaged else ())} - self.failed.keys()

    def fail(self, name: str, reason: str) -> list[str]:
        """Mark a unit as failed, and with it all that would be made from it; return the ids of those."""
        self.done(name)
        self.failed[name] = reason
        blocked: list[str] = []
        for other in self.order:
            if other in self.todo and any(source in self.failed for source in self.units[other].inputs):
                self.todo.discard(other)
                self.failed[other] = f"not done, because {self.units[name].title} failed"
                blocked.append(other)
        return blocked

    def settle(self, outcome: Outcome, say: Callable[[str], None]) -> None:
        """Take in how a unit ended, and say what went wrong."""
        name = outcome.identifier
        if outcome.state == "done":
            self.done(name)
        elif outcome.state == "damaged":
            say(f"{self.units[outcome.damaged].title} is damaged and will be done again: {outcome.reason}")
            self.again(name, outcome.damaged)
        else:
            blocked = Counter(self.units[other].step for other in self.fail(name, outcome.reason))
            after = ", ".join(f"{count} x {step}" for step, count in blocked.items())
            after = f" (so these are left out: {after})" if after else ""
            say(f"{self.units[name].title} failed: {outcome.reason}{after}")

    def _ready(self, name: str) -> bool:
        unit = self.units[name]
        return name not in self.running and not any(source in self.todo for source in (*unit.inputs, unit.after))
