"""Makes examples from the rows of any table, given a mapping of columns; every format is such a mapping."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mossa.errors import DataError, choices
from mossa.study.schema import Fields
from mossa.tasks.rows import Row
from mossa.tasks.task import Example, Unusable
from mossa.tasks.turns import USUAL, Tags, checked_text, from_turns

# Recognised by their columns, in this order: those of `prompt` and `target`, or of `messages`, must be there.
FORMATS: dict[str, Fields] = {
    "FLAN (inputs, targets)": Fields(prompt="inputs", target="targets", template="template"),
    "messages": Fields(messages="messages"),
    "prompt and completion": Fields(prompt="prompt", target="completion"),
    "ShareGPT (conversations)": Fields(messages="conversations", system="system"),
    "alpaca (instruction, input, output)": Fields(
        prompt="instruction", input="input", target="output", system="system", history="history"
    ),
}
# Columns that often occur together; used only if they are named, but `mossa init` suggests them.
LIKELY = [
    ("instruction", "context", "response"),
    *((prompt, None, target) for prompt in ("question", "problem", "query", "instruction", "input", "source", "text")
      for target in ("answer", "response", "solution", "output", "target", "summary", "label")),
]  # fmt: skip
NOT_TEXT = {
    **dict.fromkeys(("images", "image", "videos", "video", "audios", "audio"), "with images, audio or video"),
    "tools": "with tools",
    "chat_template_kwargs": "with settings of the chat template",
}


@dataclass
class Found:
    """What the rows of a source gave: per task its examples, how many were left out and why, and its cluster."""

    examples: dict[str, list[Example]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    clusters: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    spelt: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])


def read_table(
    rows: Iterable[Row],
    name: str,
    found: Found,
    fields: Fields | None = None,
    tags: Tags = USUAL,
    stated: Collection[str] | None = None,
) -> None:
    """Add the examples of `rows` to `found`: of the task called `name` or of those that the column `fields.task` names.

    Without a prompt or messages in `fields` the format is recognised by the first row. A row of FLAN must name one of
    `stated` (default: `name`) as its `task`. Raises `DataError` with the place for the first bad row.
    """
    mapping: Fields | None = None
    for where, row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: an example is an object with named columns, not {type(row).__name__}.")
        if mapping is None:
            mapping = _mapping(row, fields, where, found.notes)
        task = _name(row, mapping.task, where, "task", found) if mapping.task else name
        if mapping.task is None and mapping.prompt == "inputs":
            _check_stated(row, stated or (name,), where)
        if mapping.cluster:
            cluster = _name(row, mapping.cluster, where, "cluster", found)
            if found.clusters.setdefault(task, cluster) != cluster:
                raise DataError(f"{where}: task {task!r} is in the clusters {found.clusters[task]!r} and {cluster!r}.")
        try:
            found.examples[task].append(example(row, mapping, where, tags))
        except Unusable as reason:
            found.left_out[task][str(reason)] += 1


def recognise(columns: Collection[str]) -> dict[str, Fields]:
    """Return the formats whose columns are all among `columns`, the one that is taken first."""
    return {name: fields for name, fields in FORMATS.items() if set(_needed(fields)) <= set(columns)}


def suggest(columns: Collection[str]) -> Fields | None:
    """Return a likely mapping for columns that fit no known format, or None."""
    for prompt, given, target in LIKELY:
        if {prompt, target, given or prompt} <= set(columns):
            return Fields(prompt=prompt, input=given, target=target)
    return None


def example(row: Mapping[str, Any], fields: Fields, where: str, tags: Tags = USUAL, answered: bool = True) -> Example:
    """Return the example that a row makes; raises `Unusable` or `DataError` as `from_turns` does."""
    needed = _needed(fields) if answered else _needed(fields)[:1]
    if missing := [column for column in needed if column not in row]:
        raise DataError(f"{where}: there is no {missing[0]!r}. {_columns(row)} {_other_format(row, fields)}")
    named = _named(fields).values()
    for column, reason in NOT_TEXT.items():
        if column in row and column not in named and row[column] not in (None, "", [], {}, "[]", "null"):
            raise Unusable(reason)
    system = _text(row, fields.system, where) if fields.system else ""
    template = row.get(fields.template) if fields.template else None
    worded = None if _is_missing(template) else str(template)
    return from_turns(_messages(row, fields, where, answered), where, worded, tags, system, answered)


def _messages(row: Mapping[str, Any], fields: Fields, where: str, answered: bool) -> list[Any]:
    """Return the row's conversation as messages, whichever format it has."""
    if fields.messages:
        messages = row[fields.messages]
        if not isinstance(messages, list):
            raise DataError(f"{where}: {fields.messages!r} must be a list of messages (here: {_shown(messages)}).")
        return messages
    assert fields.prompt and fields.target
    before: list[Any] = []
    history = row.get(fields.history) if fields.history else None
    pairs = history if isinstance(history, list) else [history] if history else []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"{where}: {fields.history!r} must be pairs of what was asked and answered.")
        before += [{"role": role, "content": text} for role, text in zip(("user", "assistant"), pair, strict=True)]
    asked, answer = row[fields.prompt], row[fields.target] if answered else []
    if not isinstance(asked, list):
        parts = [_text(row, column, where) for column in (fields.prompt, fields.input) if column]
        asked = [{"role": "user", "content": "\n".join(part for part in parts if part.strip())}]
    if not isinstance(answer, list):
        answer = [{"role": "assistant", "content": _text(row, fields.target, where, number=True)}]
    return [*before, *asked, *answer]


def _mapping(row: Mapping[str, Any], fields: Fields | None, where: str, notes: list[str]) -> Fields:
    """Return which column is what: what the study says, else the format whose columns the first row has."""
    given = fields or Fields()
    named = _named(given)
    for key, column in named.items():
        if column not in row:
            raise DataError(f"{where} has no column {column!r} for the {key}. {choices(column, row)}")
    if given.prompt or given.messages:
        return given
    fitting = recognise(row)
    if not fitting:
        guess = suggest(row)
        hint = f" Perhaps: {{prompt: {guess.prompt}, target: {guess.target}}}." if guess else ""
        needs = "; ".join(" and ".join(map(repr, _needed(known))) for known in FORMATS.values())
        raise DataError(
            f"{where}: this is not a known format. Known ones have {needs}. {_columns(row)} Name the columns of a "
            f"prompt and a target, or of messages, under tasks.fields in the study.{hint}"
        )
    (taken, mapping), *others = fitting.items()
    if mapping.target == "completion" and isinstance(row.get("label"), bool):
        raise DataError(
            f"{where}: 'label' is {str(row['label']).lower()}, as in sets of preferences (KTO), where false marks an "
            "answer that nobody wants. Keep the rows with true and take the column out; or, if every answer is right, "
            "name prompt and target under tasks.fields in the study."
        )
    mine = mapping.model_copy(update=named)
    read = _named(mine).values()
    if unread := [column for column in ("system", "input", "history") if column in row and column not in read]:
        notes.append(f"read as {taken}, without {', '.join(unread)}: name columns under tasks.fields to use them")
    if others:
        notes.append(f"read as {taken}; {others[0][0]} fits too: name columns under tasks.fields to choose")
    return mine


def _needed(fields: Fields) -> list[str]:
    return [column for column in (fields.messages, fields.prompt, fields.target) if column]


def _text(row: Mapping[str, Any], column: str, where: str, number: bool = False) -> str:
    """Return the value of a column as text, empty if it is null; with `number`, also a whole number."""
    value = row.get(column)
    if value is None:
        return ""
    if number and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: {column!r} must be text (here: {_shown(value)}). {_columns(row)}")
    return checked_text(value, f"{where}: {column!r}")


def _is_missing(label: Any) -> bool:
    """Tell whether a label is not there: null, or what stands for it in a table (an empty cell) or in pandas (NaN)."""
    return label is None or label != label or (isinstance(label, str) and not label.strip())


def _name(row: Mapping[str, Any], column: str, where: str, what: str, found: Found) -> str:
    """Return the name of a task or a cluster in a column, with `_` for characters that names cannot have.

    Raises `DataError` for a value without a name, and for two that would get one name (C and C++), or nearly one.
    """
    value = row.get(column)
    name = "".join(one if one.isascii() and (one.isalnum() or one in "-+.") else "_" for one in str(value).strip())
    name = name.strip("_.+-").replace("..", "_")
    if _is_missing(value) or not name:
        raise DataError(f"{where}: {column!r} names no task or cluster (here: {_shown(value)}).")
    if (other := found.spelt.setdefault((what, name.lower()), str(value))) != str(value):
        raise DataError(f"{where}: {str(value)!r} and {other!r} name one {what}; spell it one way, or rename one.")
    return name


def _check_stated(row: Mapping[str, Any], stated: Collection[str], where: str) -> None:
    task = row.get("task", next(iter(stated)))
    if task not in stated:
        raise DataError(
            f"{where}: its task is {task!r}, but the file is {' or '.join(map(repr, sorted(stated)))}. One file holds "
            "one task, unless tasks.fields in the study says {task: task}."
        )


def _other_format(row: Mapping[str, Any], fields: Fields) -> str:
    others = list(recognise(row))
    if others:
        return f"This row is {others[0]}, the first one is not: one format per file."
    return f"An example needs {' and '.join(map(repr, _needed(fields)))}."


def _columns(row: Mapping[str, Any]) -> str:
    return f"The columns of this row are {', '.join(map(repr, row)) or 'none'}."


def _named(fields: Fields) -> dict[str, str]:
    return {key: column for key in Fields.model_fields if (column := getattr(fields, key)) is not None}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
