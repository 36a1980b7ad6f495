"""Rows out of files of any kind, each with its place: JSON lines, JSON, CSV, TSV, parquet, compressed or not."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from mossa.errors import DataError

LARGEST_JSON = 2_000_000_000  # bytes
LONGEST_LINE = 4_000_000  # characters; a longer one is a mistake, not an example
MARKS = {  # byte order marks; UTF-32 first, because its marks begin with those of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
QUOTES = 'A quote that is text is written twice, in a cell in quotes: """Yes"" is an answer".'
CUT = " The file ends in the middle of this record, so it was not downloaded whole: delete it and get it again."


class SeveralValues(DataError):
    """A file holds more than one JSON value, as lines do."""


class TwiceNamed(ValueError):
    """A JSON object has two values of one name."""


Row = tuple[str, Any]  # its place, and what is there


def _zstandard(path: Path) -> BinaryIO:
    from pyarrow import CompressedInputStream, OSFile

    return io.BufferedReader(CompressedInputStream(OSFile(str(path)), "zstd"))  # pyright: ignore[reportArgumentType]


def _plain(path: Path) -> BinaryIO:
    return path.open("rb")


PACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zstandard}


def read_lines(path: Path) -> Iterator[Row]:
    """Yield (place, record) for every line of JSON that is not blank.

    Raises `DataError` if the file cannot be read, or a line is not JSON or far too long.
    """
    with _text(path) as lines:
        # never more than one line's worth in memory, however long a line is
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), ""), 1):
            where = f"{path}, line {number}"
            if len(line) > LONGEST_LINE:
                raise DataError(f"{where} has more than {LONGEST_LINE:,} characters, the most a line may have.")
            if not line.strip():
                continue
            try:
                yield where, json.loads(line, object_pairs_hook=_object)
            except TwiceNamed as error:
                raise DataError(f"{where}: {error}") from error
            except (ValueError, RecursionError) as error:
                cut = "" if line.endswith("\n") else CUT
                raise DataError(f"{where}: this is not JSON ({error}): {line.strip()[:60]!r}{cut}") from error


def read_json(path: Path) -> Any:
    """Return the content of a *.json file; raises `DataError` if it cannot be read, is too large or not JSON."""
    with _text(path) as file:
        text = file.read(LARGEST_JSON + 1)
    if len(text) > LARGEST_JSON:
        raise DataError(
            f"{path} has more than {LARGEST_JSON:,} characters, the most of a file that is read whole. "
            "Write it as *.jsonl, one object per line."
        )
    try:
        return json.loads(text, object_pairs_hook=_object)
    except TwiceNamed as error:
        raise DataError(f"{path}: {error}") from error
    except json.JSONDecodeError as error:
        if error.msg.startswith("Extra data"):
            raise SeveralValues(f"{path}, line {error.lineno}: there is more after the first value.") from error
        cut = CUT if error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise DataError(f"{path}, line {error.lineno}: this is not JSON ({error.msg}).{cut}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}).") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; Python would take the last of two values of one name, and other readers the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise TwiceNamed(f"an object has {twice!r} twice. Take one out, or rename it.")
    return found


def read_object(path: Path) -> dict[str, Any] | None:
    """Return what a *.json file holds if it is one object, None if it holds rows."""
    with _text(path) as file:
        if file.read(4096).lstrip()[:1] != "{":
            return None
    try:
        return read_json(path)
    except SeveralValues:
        return None


def _json_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of an array, or the lines of a file that holds lines of JSON under the name *.json."""
    try:
        content = read_json(path)
    except SeveralValues:
        yield from read_lines(path)
        return
    rows = content if isinstance(content, list) else [content]
    yield from ((f"{path}, example {number}", row) for number, row in enumerate(rows, 1))


def _table(path: Path) -> Iterator[Row]:
    """Yield the rows of a table whose first line names its columns; separated by comma, semicolon or tab."""
    csv.field_size_limit(LONGEST_LINE)
    with _text(path, newline="") as file:
        header = file.readline(LONGEST_LINE)
        separator = "\t" if kind_of(path) == ".tsv" else max(",;\t", key=header.count)
        lines: list[str] = []  # of the row that is read
        # the line is put back in front, for not every packed file can be read from its start again
        reader = csv.reader(_noted(chain([header], file), lines), delimiter=separator, strict=True)
        try:
            columns = next(reader, [])
            if twice := [name for name in columns if columns.count(name) > 1]:
                raise DataError(f"{path}: two columns are called {twice[0]!r}; rename one.")
            lines.clear()
            for number, cells in enumerate(reader, 1):
                if separator == "\t" and _each_a_row(lines, len(columns)):
                    raise DataError(
                        f"{path}, row {number}: a cell that begins with a quote goes on in the next line, but each "
                        f"line is a row by itself: {lines[0][:60]!r}. {QUOTES} If it is one cell, take out its tabs."
                    )
                lines.clear()
                if cells and len(cells) != len(columns):
                    raise DataError(
                        f"{path}, row {number} has {len(cells)} cells and the first line {len(columns)} names. Quote "
                        f"a cell that holds {separator!r} or a line break."
                    )
                if cells:
                    yield f"{path}, row {number}", dict(zip(columns, cells, strict=True))
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: this is not a table ({error}). {QUOTES}") from error


def _noted(lines: Iterable[str], noted: list[str]) -> Iterator[str]:
    """Yield the lines, and add each to `noted`."""
    for line in lines:
        noted.append(line)
        yield line


def _each_a_row(lines: list[str], columns: int) -> bool:
    """Tell whether several lines that quotes make one row of are each a row of a table in which quotes are text.

    Tables with tabs are written in both ways, and every other case can be told from how many cells a line has.
    """
    filled = [line for line in lines if line.strip()]
    return columns > 1 and len(filled) > 1 and all(line.count("\t") == columns - 1 for line in filled)


def _parquet_rows(path: Path) -> Iterator[Row]:
    for number, row in enumerate(read_parquet(path), 1):
        yield f"{path}, row {number}", row


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": read_lines,
    ".json": _json_rows,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet_rows,
}


def kind_of(path: Path) -> str | None:
    """Return the ending that says how a file is read, or None if its rows cannot be read."""
    inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
    ending = inner.suffix.lower()
    return ending if ending in READERS and (inner is path or ending != ".parquet") else None


def name_of(path: Path) -> str:
    """Return a file's name without the endings that say how it is read."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).stem


def read_rows(path: Path) -> Iterator[Row]:
    """Yield (place, row) for every row of a file; raises `DataError` for one that cannot be read."""
    kind = kind_of(path)
    if kind is None:
        endings = f"{', '.join(READERS)}, and {', '.join(PACKED)} after them"
        raise DataError(f"{path} ends in none of {endings}. Rename or convert it.")
    yield from READERS[kind](path)


@contextmanager
def _text(path: Path, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    """Open a file of text, packed or not, in the encoding that its byte order mark says, else UTF-8."""
    encoding = "utf-8"
    try:
        with PACKED.get(path.suffix.lower(), _plain)(path) as file:
            start = file.peek(4)[:4]
            encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8-sig")
            with io.TextIOWrapper(file, encoding, newline=newline) as text:
                yield text
    except UnicodeError as error:
        raise DataError(f"{path} is not {encoding.removesuffix('-sig').upper()} text: {error}.") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): delete it and get it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_parquet(file: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file in their order, with these columns or all; the number of a class is replaced by its
    name.

    Raises `DataError` for a file that is not whole, and for a column that is not there (with those that are).
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        there = table.schema_arrow.names
        if twice := [name for name in there if there.count(name) > 1]:
            raise DataError(f"{file}: two columns are called {twice[0]!r}; rename one.")
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
    except (ValueError, OverflowError) as error:  # a date beyond Python's years, half of a character
        raise DataError(f"{file}: a value cannot be read ({error}); take its column out, or convert it.") from error


def _names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes of each column for which the `datasets` library has written them down."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        columns: list[tuple[str, Any]] = list(features.items())
    except (ValueError, AttributeError):
        return {}
    # of lists, older versions of `datasets` write [what they hold]; only classes are looked for
    described = [(column, kind) for column, kind in columns if isinstance(kind, dict)]
    return {
        column: kind["names"]
        for column, kind in described
        if kind.get("_type") == "ClassLabel" and isinstance(kind.get("names"), list)
    }


def _named(value: Any, names: list[str]) -> Any:
    """Return the name of a class; a class of -1, which says that there is no label, is None."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
