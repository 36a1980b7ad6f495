"""Where an update acts: medians of the readings over tasks, and a summary in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mossa.analysis.over_tasks import interval

CHANGE, GRAFT = "one-layer-change", "shapley"


COLUMNS = ["experimental", "held_out", "reading", "layer", "value", "low", "high", "tasks", "undefined", "reason"]


def over_tasks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the median over tasks of each reading per (experimental, held_out, reading, layer), see `COLUMNS`.

    `table` is `place` of a run. The 95 % interval is null for fewer than 6 tasks; `undefined`
    counts the tasks without a value and `reason` is theirs.
    """
    rows: list[dict[str, object]] = []
    keys = COLUMNS[:4]
    for key, part in table.groupby(keys, sort=False) if len(table) else ():
        values = part["value"].dropna().to_numpy(float)
        low, high = interval(values)
        numbers = (float(np.median(values)) if len(values) else None, low, high, len(values), len(part) - len(values))
        missing = part.loc[part["value"].isna(), "reason"]
        rows.append(dict(zip(COLUMNS, (*key, *numbers, missing.iloc[0] if len(missing) else None), strict=True)))
    return pd.DataFrame(rows, columns=COLUMNS)


def say_place(
    table: pd.DataFrame,
    gain: float | None,
    sufficient: tuple[int, int] | None,
    necessary: tuple[int, int] | None,
) -> str:
    """Return where an update acts: which layer leads by each reading, and which windows suffice and are needed."""
    said: list[str] = []
    worth = {GRAFT: "is worth most (Shapley value)", "add-one-in": "alone is worth most to the base"}
    if GRAFT in set(table["reading"]):
        del worth["add-one-in"]
    for reading, what in {CHANGE: "changes most on the same input", **worth}.items():
        rows = table[table["reading"].eq(reading)]
        defined = rows.dropna(subset=["value"])
        if len(defined) and defined["value"].max() > 0:
            top = defined.iloc[int(np.argmax(defined["value"].to_numpy(float)))]
            said.append(f"Layer {top.layer} {what}: {top.value:.3f}{_ends(top)}.")
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


def _ends(row: pd.Series) -> str:
    return "" if pd.isna(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"


def _layers(span: tuple[int, int]) -> str:
    return f"layer {span[0]}" if span[0] == span[1] else f"layers {span[0]} to {span[1]}"
