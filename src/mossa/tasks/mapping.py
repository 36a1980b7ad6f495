"""What `mossa init` writes about the columns of data that it looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mossa.errors import DataError
from mossa.study.schema import Fields, Tasks
from mossa.tasks.collections import COLLECTIONS, HUB, open_hub
from mossa.tasks.folder import Part, open_source
from mossa.tasks.formats import recognise, suggest
from mossa.tasks.natural_instructions import is_task_file
from mossa.tasks.rows import read_rows

TASK_COLUMNS = ("task", "category", "subject", "subset", "dataset", "source")  # what may name the task of a row


def found_mapping(source: str) -> list[str]:
    """Return lines for the `tasks` of a study file, on which column of the first row is what.

    A format that is recognised is only commented on; a guess is written out, to be checked. What cannot be looked at
    gives a comment with the reason.
    """
    if source in COLLECTIONS:
        return []
    try:
        opened = open_hub(Tasks(source=source)) if source.startswith(HUB) else open_source(Path(source).expanduser())
        part = next(iter(opened.parts.values()))
        row = next(read_rows(part.files[0]), ("", None))[1]
    except DataError as error:
        return [f"# not looked at yet: {' '.join(str(error).split())}"]
    return _lines(part, row) if isinstance(row, Mapping) and not is_task_file(row) else []


def _lines(part: Part, row: Mapping[str, object]) -> list[str]:
    fitting = recognise(row)
    columns = ", ".join(map(str, row))
    if part.fields:
        lines = [f"# fields: {_written(part.fields)}   # as dataset_info.json says of {part.name}"]
    elif fitting:
        others = "".join(f"; {name} fits too" for name in [*fitting][1:])
        lines = [f"# fields: {_written(next(iter(fitting.values())))}   # recognised: {next(iter(fitting))}{others}"]
    elif guess := suggest(row):
        lines = [f"fields: {_written(guess)}   # a guess; check it with `mossa tasks show`. The columns: {columns}"]
    else:
        lines = [f"fields: {{prompt: , target: }}   # name two of the columns: {columns}"]
    named = [column for column in TASK_COLUMNS if isinstance(row.get(column), str)]
    if named and "inputs" not in row:
        lines.append(f"# add `task: {named[0]}` to fields to make a task of each {named[0]}")
    return lines


def _written(fields: Fields) -> str:
    named = fields.model_dump(exclude_none=True)
    return "{" + ", ".join(f"{key}: {json.dumps(column)}" for key, column in named.items()) + "}"
