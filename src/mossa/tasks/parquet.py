"""Rows out of parquet files, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mossa.errors import DataError


def read_rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of `files` in their order, with these columns.

    Raises `DataError` for a file that is not whole, and for a column that is not there (with those that are).
    """
    import pyarrow
    from pyarrow import parquet

    for file in files:
        try:
            table = parquet.ParquetFile(file)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(
                f"{file} is not a whole parquet file, so it was not downloaded to its end: delete it and run again."
            ) from error
        there = table.schema_arrow.names
        missing = [column for column in columns if column not in there]
        if missing:
            raise DataError(
                f"{file} has no column {', '.join(map(repr, missing))}; its columns are: {', '.join(there)}. The "
                "dataset has changed: set tasks.revision to a commit that has them, or leave it out with tasks.only."
            )
        for batch in table.iter_batches(columns=list(columns), batch_size=4096):
            yield from batch.to_pylist()
