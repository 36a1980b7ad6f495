"""How numbers, layers and lists are written in every sentence of mossa."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from mossa.names import count as count


def number(value: float) -> str:
    """Return two decimals without the leading zero: .60, -.29, 1.00."""
    text = f"{round(value, 2) + 0.0:.2f}"
    return text.replace("0.", ".", 1) if abs(round(value, 2)) < 1 else text


def signed(value: float) -> str:
    """Return `number` with its sign: +.21, -.57; what rounds to .00 has none."""
    text = number(value)
    return text if text.startswith("-") or text == ".00" else f"+{text}"


def brackets(low: float, high: float) -> str:
    """Return " [low, high]", or nothing where there is no interval."""
    return "" if pd.isna(low) or pd.isna(high) else f" [{number(low)}, {number(high)}]"


def listed(words: Iterable[object], most: int = 5) -> str:
    """Return "a, b and c"; count the rest if there are more than `most`."""
    found = [str(word) for word in words]
    if len(found) > most:
        found = [*found[: most - 1], f"{len(found) - most + 1} more"]
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)


def short(text: str, longest: int = 40) -> str:
    """Return a text that fits beside a plot or into a table; a longer one ends in an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def runs(layers: Sequence[int]) -> list[tuple[int, int]]:
    """Return (first, last) of every run of consecutive whole numbers."""
    found: list[tuple[int, int]] = []
    for layer in sorted(layers):
        found = (
            [*found[:-1], (found[-1][0], layer)] if found and layer == found[-1][1] + 1 else [*found, (layer, layer)]
        )
    return found


def layers_in_words(layers: Sequence[int]) -> str:
    """Return "layer 8", "layers 5-8" or "layers 1-2 and 5-8"."""
    spans = [str(a) if a == b else f"{a}-{b}" for a, b in runs(layers)]
    return f"layer{'s' if len(layers) > 1 else ''} {listed(spans, most=len(spans) + 1)}"


def extreme(rows: pd.DataFrame, column: str, smallest: bool = False) -> pd.Series:
    """Return the row whose `column` is farthest from zero, or nearest to it; skip rows without a value."""
    values = rows[column].abs().to_numpy(float)
    return rows.iloc[int(np.nanargmin(values) if smallest else np.nanargmax(values))]
