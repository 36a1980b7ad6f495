"""Readings of place in words."""

from __future__ import annotations

import pandas as pd

CHANGE, GRAFT = "one-layer-change", "shapley"


def say_place(
    table: pd.DataFrame,
    gain: float | None,
    sufficient: tuple[int, int] | None,
    necessary: tuple[int, int] | None,
) -> str:
    """Return where an update acts: which layer leads by each reading, and which windows suffice and are needed."""
    said: list[str] = []
    for reading, what in ((CHANGE, "changes most on the same input"), (GRAFT, "is worth most (Shapley value)")):
        rows = table[table["reading"].eq(reading)]
        defined = rows.dropna(subset=["value"])
        if len(defined) and defined["value"].max() > 0:
            top = defined.loc[defined["value"].astype(float).idxmax()]
            said.append(f"Layer {top.layer} {what}: {top.value:.3f} [{top.low:.3f}, {top.high:.3f}].")
        elif len(rows):
            why = rows["reason"].dropna()
            said.append(f"No layer {what}: {why.iloc[0] if len(why) else 'no value is above 0'}.")
    if gain is not None and sufficient:
        said.append(
            f"The update of {_layers(sufficient)} alone gives 90 % of the gain of {gain:.3f} nats per target token."
        )
    if gain is not None and necessary:
        said.append(f"Without the update of {_layers(necessary)} at most 10 % is left.")
    return " ".join(said)


def _layers(span: tuple[int, int]) -> str:
    return f"layer {span[0]}" if span[0] == span[1] else f"layers {span[0]} to {span[1]}"
