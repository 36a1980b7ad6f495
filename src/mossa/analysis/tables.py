"""What analysis accepts: the tables of a run, checked once on entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mossa.errors import DataError, choices


class Contract(NamedTuple):
    """The columns of one table: what makes a row unique, other names, numbers that must exist or may be null."""

    key: tuple[str, ...]
    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    optional_texts: tuple[str, ...] = ()
    optional_numbers: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Every column, required ones first."""
        return [name for part in self for name in part]


CONTRACTS: dict[str, Contract] = {
    "similarity": Contract(
        ("experimental", "relation", "reference", "task", "layer", "estimator"), ("cluster", "held_out"), ("value",),
        ("reason",), ("standard_error", "low", "high", "n", "d", "non_finite"),
    ),
    "difference": Contract(
        ("experimental", "task", "layer", "estimator"), ("cluster", "held_out"), ("difference",),
        ("reason",), ("standard_error", "low", "high", "n", "d"),
    ),
    "evaluation": Contract(
        ("model", "task"), ("role", "cluster"), ("loss",), (), ("accuracy", "n", "target_tokens", "skipped"),
    ),
    "adapters": Contract(
        ("adapter",), ("role", "task"), (), ("stopped_because",),
        ("seed", "steps", "epochs", "examples", "target_tokens", "first_loss", "last_loss", "update_norm",
         "relative_update", "seconds"),
    ),
    "spectrum": Contract(
        ("model", "task", "layer"), ("role", "cluster"), (), ("reason",),
        ("n", "d", "dimensions_99", "participation_ratio", "effective_rank", "distance"),
    ),
    "tasks": Contract(
        ("task",), ("cluster",), (), ("hash",),
        ("train", "validation", "test", "left_out", "templates", "skipped", "shortened", "prompt_tokens",
         "prompt_characters", "target_tokens", "flesch_kincaid", "coleman_liau"),
    ),
}  # fmt: skip


def table(tables: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """Return table `name` with all the columns of its contract; absent or empty gives a table without rows.

    Rows are sorted by key, so that nothing depends on the order in which they were written. A null cluster is called
    "(no cluster)", a null `held_out` false. Optional columns that are absent come back null. Raises DataError for a
    missing required column, a null in the key, a value that is not a number (or is infinite) and two rows with one key.
    """
    contract = CONTRACTS[name]
    frame = tables.get(name)
    if frame is None or frame.empty:
        return pd.DataFrame({column: pd.Series(dtype=_dtype(contract, column)) for column in contract.columns})
    required = [*contract.key, *contract.texts, *contract.numbers]
    for column in required:
        if column not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise DataError(
                f"The table {name!r} has no column {column!r}; it has: {there}. "
                f"{choices(column, required)} All of them are needed."
            )
    checked = frame.reindex(columns=contract.columns).reset_index(drop=True)
    for column in contract.columns:
        if _dtype(contract, column) == "float64":
            checked[column] = _numbers(checked[column], name, column)
    checked = _with_key(checked, name, list(contract.key))
    for column, instead in {"cluster": "(no cluster)", "held_out": False}.items():
        if column in contract.texts:
            checked[column] = checked[column].astype("object").where(checked[column].notna(), instead)
    return checked.sort_values(list(contract.key), ignore_index=True)


def _dtype(contract: Contract, column: str) -> str:
    numeric = (*contract.numbers, *contract.optional_numbers, "layer")
    return "float64" if column in numeric else "object"


def _numbers(series: pd.Series, name: str, column: str) -> pd.Series:
    """Return a float series (null where there is no value), or say which row is not a number."""
    numbers = pd.to_numeric(series, errors="coerce").astype("float64")
    for row in np.flatnonzero((numbers.isna() & series.notna()) | np.isinf(numbers)):
        raise DataError(
            f"Row {row} of the table {name!r} has {column} = '{series.iloc[row]}', which is not a finite number. "
            "Leave it null and say why in `reason`."
        )
    return numbers


def _with_key(frame: pd.DataFrame, name: str, key: list[str]) -> pd.DataFrame:
    """Return the table with whole layers; DataError for the first row whose key is incomplete, wrong or not its own."""
    for row in np.flatnonzero(frame[key].isna().any(axis=1)):
        raise DataError(f"Row {row} of the table {name!r} has a null in its key ({', '.join(key)}). Fill it in.")
    if "layer" in key:
        layers = frame["layer"]
        for row in np.flatnonzero((layers % 1 != 0) | (layers < 1)):
            raise DataError(
                f"Row {row} of the table {name!r} has layer = {layers[row]}. Layers are whole numbers from 1."
            )
        frame = frame.astype({"layer": int})
    for row in np.flatnonzero(frame.duplicated(key)):
        values = ", ".join(f"{column} = {frame[column].iloc[row]}" for column in key)
        raise DataError(f"The table {name!r} has two rows for {values}. Keep one of them.")
    return frame
