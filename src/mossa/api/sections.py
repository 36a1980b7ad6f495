"""The sections of a tuned model as an object: shared, transition, refinement, with the intervals of their borders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

NAMES = ("shared", "transition", "refinement")


@dataclass(frozen=True)
class Section:
    """Layers `first` to `last` (1..L); the last layer's 95 % interval, null for the last section of a model.

    `difference` is the level of the median difference in similarity to the controls, model minus base.
    """

    name: str
    first: int
    last: int
    last_low: int | None
    last_high: int | None
    difference: float

    @property
    def layers(self) -> list[int]:
        """Return the layers of this section, counted from 1."""
        return list(range(self.first, self.last + 1))


@dataclass(frozen=True, repr=False)
class Sections:
    """The sections of one model by the rule of docs/reference/analysis.md; a section that cannot be identified is None.

    `identifiable` means that all three exist; `reason` says why not. `gradual` holds the layers between which a rise
    without flat parts takes place. `p_value` is that of the curve without sections that is the hardest to reject.
    """

    model: str
    estimator: str
    population: str
    tasks: int
    shared: Section | None
    transition: Section | None
    refinement: Section | None
    identifiable: bool
    gradual: tuple[int, int] | None
    p_value: float | None
    reason: str | None

    @classmethod
    def of(cls, row: pd.Series[Any], first: int) -> Sections:
        """Return the sections in a row of the findings' table `sections`; `first` is the first layer."""
        found: dict[str, Section | None] = dict.fromkeys(NAMES)
        last_of_all = first + int(row["layers"]) - 1
        begin = first
        for name in NAMES if row["sections"] > 1 else ():
            end = row.get(f"{name}_end") if name != NAMES[-1] else last_of_all
            if pd.isna(end):
                continue
            border = name != NAMES[-1]
            low, high = (int(row[f"{name}_end_{side}"]) if border else None for side in ("low", "high"))
            found[name] = Section(name, begin, int(end), low, high, float(row[f"{name}_difference"]))
            begin = int(end) + 1
        return cls(
            model=str(row["experimental"]),
            estimator=str(row["estimator"]),
            population=str(row["population"]),
            tasks=int(row["tasks"]),
            **found,
            identifiable=bool(row["identifiable"]),
            gradual=None if pd.isna(row["gradual_from"]) else (int(row["gradual_from"]), int(row["gradual_to"])),
            p_value=None if pd.isna(row["p_value"]) else float(row["p_value"]),
            reason=None if pd.isna(row["reason"]) else str(row["reason"]),
        )

    def __iter__(self) -> Iterator[Section]:
        """Yield the sections that were found, in order of depth."""
        return (each for each in (self.shared, self.transition, self.refinement) if each is not None)

    @property
    def table(self) -> pd.DataFrame:
        """Return one row per section: `name`, `first`, `last`, `last_low`, `last_high`, `difference`."""
        return pd.DataFrame([asdict(each) for each in self], columns=list(Section.__dataclass_fields__))

    def __repr__(self) -> str:
        lines = [f"{self.model}, {self.tasks} tasks ({self.population}), {self.estimator}"]
        for each in self:
            border = "" if each.last_low is None else f", ends in [{each.last_low}, {each.last_high}]"
            lines.append(f"  {each.name:10} layers {each.first}-{each.last}{border}; difference {each.difference:+.3f}")
        if self.reason:
            lines.append(f"  {'not three' if len(lines) > 1 else 'none can be identified'}: {self.reason}")
        return "\n".join(lines)
