"""A unit: the smallest thing worth not doing twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unit:
    """One step on one thing.

    `settings` holds everything that could change its result, as plain values, and nothing else: never a path, a time or
    the number of workers. `inputs` are the ids of the units whose results it reads. `model` is what it needs in memory.
    `after` is the id of a unit that leaves something for it in the memory of the worker that did it: no input, for it
    can be done without.
    """

    step: str
    key: str
    settings: dict[str, Any]
    inputs: tuple[str, ...] = ()
    model: str | None = None
    after: str | None = None

    @property
    def id(self) -> str:
        """Return `step/key`, which is also its place in the run folder."""
        return f"{self.step}/{self.key}"

    @property
    def title(self) -> str:
        """Return what a person calls it, such as `represent sft on rte`."""
        return f"{self.step} {self.key.replace('@', ' on ')}"


def fingerprint(unit: Unit, upstream: dict[str, str]) -> str:
    """Return a hash of all that could change the unit's result; `upstream` maps its inputs to their fingerprints."""
    content = {"step": unit.step, "settings": unit.settings, "inputs": {name: upstream[name] for name in unit.inputs}}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def fingerprints(units: dict[str, Unit]) -> dict[str, str]:
    """Return the fingerprint of every unit; `units` is in an order in which inputs come first."""
    found: dict[str, str] = {}
    for name, unit in units.items():
        found[name] = fingerprint(unit, found)
    return found
