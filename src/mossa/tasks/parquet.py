"""Rows out of parquet files, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mossa.errors import DataError


def read_parquet(file: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file in their order, with these columns or all; a number that stands for a name is the name.

    Raises `DataError` for a file that is not whole, and for a column that is not there (with those that are).
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        there = table.schema_arrow.names
        missing = [column for column in columns or () if column not in there]
        if missing:
            raise DataError(
                f"{file} has no column {', '.join(map(repr, missing))}; its columns are: {', '.join(there)}. The "
                "dataset has changed: set tasks.revision to a commit that has them, or leave it out with tasks.only."
            )
        names = {} if columns else _names(table.schema_arrow.metadata or {})
        for batch in table.iter_batches(columns=columns and list(columns), batch_size=1024):
            for row in batch.to_pylist():
                yield row | {column: _named(row[column], known) for column, known in names.items() if column in row}
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{file} is not a whole parquet file, so it was not downloaded to its end: delete it and run again."
        ) from error


def _names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes of each column for which the `datasets` library has written them down."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return {column: kind["names"] for column, kind in features.items() if kind.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError):
        return {}


def _named(value: Any, names: list[str]) -> Any:
    """Return the name of a class; a class of -1, which says that there is no label, is None."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
