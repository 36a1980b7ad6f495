"""JSON records out of files: one per line (*.jsonl) or one array (*.json); what is wrong is named with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mossa.errors import DataError

LARGEST_JSON = 2_000_000_000  # bytes
LONGEST_LINE = 4_000_000  # characters; a longer one is no example but a mistake


def read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (place, record) for every line of a *.jsonl file that is not blank.

    Raises `DataError` if the file cannot be read, or a line is not JSON or far too long.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            # never more than one line's worth in memory, however long a line is
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), ""), 1):
                where = f"{path}, line {number}"
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{where} has more than {LONGEST_LINE:,} characters, the most a line may have.")
                if not line.strip():
                    continue
                try:
                    yield where, json.loads(line)
                except (ValueError, RecursionError) as error:
                    cut = "" if line.endswith("\n") else _CUT
                    shown = line.strip()[:60]
                    raise DataError(f"{where}: this is not JSON ({error}): {shown!r}{cut}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def read_json(path: Path) -> Any:
    """Return the content of a *.json file; raises `DataError` if it cannot be read, is too large or not JSON."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes; a file that is read whole has at most {LARGEST_JSON:,}. "
                "Write it as *.jsonl, one object per line."
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from error
    except json.JSONDecodeError as error:
        cut = _CUT if error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise DataError(f"{path}, line {error.lineno}: this is not JSON ({error.msg}).{cut}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}).") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def fields(record: Any, names: tuple[str, ...], where: str) -> list[str]:
    """Return the texts of the fields called `names`, which must all be there.

    Raises `DataError`, naming the fields that are there, for one that is missing, no text, or half of a character.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: an example is an object with {', '.join(names)}, not {type(record).__name__}.")
    for name in names:
        value = record.get(name)
        if not isinstance(value, str):
            there = f"The fields of this example are {', '.join(map(repr, record)) or 'none'}."
            if name in record:
                raise DataError(f"{where}: {name!r} must be text that is not empty (here: {value!r}). {there}")
            raise DataError(
                f"{where}: there is no {name!r}. {there} An example needs {' and '.join(map(repr, names))}."
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: {name!r} holds half of a character ({error.reason}); mend the line.") from error
    return [record[name] for name in names]


_CUT = " The file ends in the middle of this record, so it was not downloaded whole: delete it and get it again."
