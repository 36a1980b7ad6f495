"""LLaMA-Factory's dataset_info.json: which file is which task, and what each column holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mossa.errors import DataError, choices
from mossa.study.schema import Fields
from mossa.tasks.formats import NOT_TEXT
from mossa.tasks.rows import read_json
from mossa.tasks.turns import Tags

FILE = "dataset_info.json"
ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "system": None, "history": None}
SHAREGPT = {"messages": "conversations", "system": None}
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
ELSEWHERE = ("tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag")
OUR_NAMES = {"prompt": "prompt", "query": "input", "response": "target"}


@dataclass(frozen=True, slots=True)
class NamedSet:
    """One data set of the list: its file or folder, and how its rows are read."""

    place: str
    fields: Fields
    tags: Tags


def read_dataset_info(folder: Path) -> dict[str, NamedSet]:
    """Return the data sets in the folder's dataset_info.json that are files there, by name; empty if there is no list.

    Raises `DataError` for an entry that cannot be followed: pairs of preferences, or an unknown format or column.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must be an object of data sets by name.")
    return {
        name: _entry(entry, f"{path}, {name!r}")
        for name, entry in content.items()
        if isinstance(entry, dict)
        and isinstance(entry.get("file_name"), str)
        and (folder / entry["file_name"]).exists()
    }


def _entry(entry: dict[str, Any], where: str) -> NamedSet:
    if entry.get("ranking") or "kto_tag" in (entry.get("columns") or {}):
        raise DataError(
            f"{where} holds preferences, not answers. Take it out of the list, or its file out of the folder."
        )
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt"):
        raise DataError(f"{where}: formatting is {formatting!r}. {choices(str(formatting), ('alpaca', 'sharegpt'))}")
    usual = ALPACA if formatting == "alpaca" else SHAREGPT
    # a list of columns replaces all the usual ones, as it does there
    columns = _checked(entry.get("columns"), (*ALPACA, *SHAREGPT, *ELSEWHERE), where, "columns") or usual
    for key in ("tools", "images", "videos", "audios"):
        if columns.get(key) not in (None, *NOT_TEXT):
            raise DataError(
                f"{where}: columns.{key} is {columns[key]!r}. Rows {NOT_TEXT[key]} are left out, but only if the "
                f"column is called {key!r}: rename it here and in the file."
            )
    tags = TAGS | _checked(entry.get("tags"), TAGS, where, "tags")
    named = {OUR_NAMES.get(key, key): columns.get(key) for key in usual}
    return NamedSet(entry["file_name"], _fields(named, where), _tags(tags) if formatting == "sharegpt" else Tags())


def _fields(named: dict[str, Any], where: str) -> Fields:
    needed = ("messages",) if "messages" in named else ("prompt", "target")
    if missing := [key for key in needed if named.get(key) is None]:
        said = {ours: theirs for theirs, ours in OUR_NAMES.items()}.get(missing[0], missing[0])
        raise DataError(f"{where}: columns do not say which column is {said!r}; an example needs it.")
    return Fields(**named)


def _tags(tags: dict[str, Any]) -> Tags:
    roles = {tags[f"{role}_tag"]: role for role in ("user", "assistant", "system") if tags[f"{role}_tag"]}
    tools = tuple(tags[key] for key in ("observation_tag", "function_tag") if tags[key])
    return Tags((tags["role_tag"],), (tags["content_tag"],), roles, tools)


def _checked(given: Any, known: Iterable[str], where: str, what: str) -> dict[str, Any]:
    """Return a mapping of known names to texts."""
    if given is None:
        return {}
    known = list(known)
    if not isinstance(given, dict) or not all(value is None or isinstance(value, str) for value in given.values()):
        raise DataError(f"{where}: {what} must be an object of texts (here: {str(given)[:80]}).")
    for key in given:
        if key not in known:
            raise DataError(f"{where}: {what} has no {key!r}. {choices(key, known)}")
    return given
