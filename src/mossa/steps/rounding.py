"""Which changes from the base are rounding for the most part, where representations were computed in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# Rounding of a change at layer l, as a share of ‖base‖_F √l: measured on SmolLM2-135M at all 30 layers of two adapters,
# 1.65 to 2.6 times bfloat16's spacing of 2⁻⁸ halved (docs/performance.md).
NOISE = 2.1 * 2.0**-9
MOST = 1 / 3  # of a change that may be rounding; where it was more, shift-CKA was off by .03 to .57
REMEDY = "set representations.dtype: float32"
REASON = "a change from the base is within bfloat16's rounding here; "


def rounded_layers(base: Array, models: Mapping[str, Array]) -> dict[str, set[int]]:
    """Return for each model `[n, L, d]` the layers 1..L at which its change, centred over prompts, is mostly rounding.

    Mostly: more than `MOST` of its Frobenius norm. Prompts that are not finite in one of the two are left out.
    """
    return {name: _rounded(base, array) for name, array in models.items()}


def _rounded(base: Array, array: Array) -> set[int]:
    finite = finite_in_all([base, array])
    found: set[int] = set()
    for layer in range(1, base.shape[1] + 1):
        before = base[finite, layer - 1].astype(np.float64)
        change = array[finite, layer - 1] - before
        change -= change.mean(axis=0) if len(change) else 0.0
        if NOISE * np.sqrt(layer) * np.linalg.norm(before) > MOST * np.linalg.norm(change):
            found.add(layer)
    return found


def finite_in_all(arrays: Sequence[Array]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which of n prompts are finite at every layer of all arrays [n, L, d], looking at one layer at a time."""
    layers = (np.isfinite(array[:, layer]).all(axis=1) for array in arrays for layer in range(array.shape[1]))
    return np.logical_and.reduce(list(layers))


def without_rounded(
    rows: list[dict[str, Any]], control: str, layers: Mapping[str, set[int]], remedy: str = REMEDY
) -> list[dict[str, Any]]:
    """Return the rows of a comparison with `control`; those of shifts that are rounding have no value, but a reason."""
    empty = {"value": None, "standard_error": None, "low": None, "high": None, "reason": REASON + remedy}
    return [
        {**row, **empty}
        if row["estimator"].startswith("shift-")
        and row["value"] is not None
        and row["layer"] in layers[control] | layers.get(row["model"], set())
        else row
        for row in rows
    ]
