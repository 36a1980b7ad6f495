"""What an engine tells about the units it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mossa.units.unit import Unit


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a unit ended: done, failed with a reason, or waiting for `damaged`, an input that must be done again.

    Of a unit that several workers share, the first tells this, or `lost` if another is gone; the others have `helped`.
    `notes`: what loading its model reported.
    """

    identifier: str
    state: Literal["done", "failed", "damaged", "lost", "helped"]
    reason: str = ""
    damaged: str = ""
    seconds: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """A unit was begun by worker `worker`."""

    unit: Unit
    worker: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """A unit is `done` of `total` steps or prompts along; a training also tells its loss (nats per target token)."""

    identifier: str
    done: int
    total: int
    loss: float | None = None


Event = Started | Advanced | Outcome
