"""The state of a study: what is right or wrong with it before it runs, and which of its units are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mossa.errors import FEW
from mossa.store.record import Record
from mossa.study.loading import Problem

STATES = ("done", "missing", "stale", "failed", "damaged")


@dataclass(frozen=True, repr=False)
class Validation:
    """Every problem of a study, the checks that passed, and `notes`; true if there is no problem."""

    problems: list[Problem]
    found: list[str]
    notes: list[str]

    def __bool__(self) -> bool:
        return not self.problems

    def __repr__(self) -> str:
        told = {"ok": self.found, "--": self.notes, "!!": self.problems}
        return "\n".join(f"  {sign}   {line}" for sign, lines in told.items() for line in lines)


@dataclass(frozen=True, repr=False)
class StudyStatus:
    """The state of the units of a study: one row per unit in `units`, with `unit`, `step`, `title`, `state`, `why`.

    `todo` is how many units a run would do, including those that depend on others.
    """

    folder: Path
    units: pd.DataFrame
    todo: int

    @classmethod
    def of(cls, record: Record, todo: Sequence[str]) -> StudyStatus:
        """Return the state of the units of a record."""
        rows = [
            {
                "unit": name,
                "step": record.units[name].step,
                "title": record.units[name].title,
                "state": status.state,
                "why": status.why or None,
            }
            for name, status in record.status().items()
        ]
        return cls(record.run.path, pd.DataFrame(rows), len(todo))

    def __repr__(self) -> str:
        lines = [str(self.folder), f"{'':10}" + "".join(f"{state:>9}" for state in STATES)]
        for step, units in self.units.groupby("step", sort=False):
            counts = (int(units["state"].eq(state).sum()) for state in STATES)
            lines.append(f"{step:10}" + "".join(f"{count:>9}" for count in counts))
        odd = self.units[~self.units["state"].isin(["done", "missing"])]
        for (_, state, why), units in odd.groupby(["step", "state", "why"], sort=False, dropna=False):
            shown = (
                list(units["title"]) if len(units) <= FEW else [f"{units['title'].iloc[0]} and {len(units) - 1} more"]
            )
            lines += [f"{title}: {state}: {why}" for title in shown]
        return "\n".join([*lines, f"{self.todo} units to do." if self.todo else "Everything is done."])
