"""How a row of a raw dataset becomes a prompt and a target: fields, answers and templates, all of it data."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from mossa.errors import choices
from mossa.study.settings import Settings
from mossa.tasks.task import Example, Unusable

TEMPLATES = 10
BYTES = re.compile(r"b'(.*?)(?:\\n)?'")  # math_dataset's texts are Python's bytes, written out
SLOT = re.compile(r"\{([a-z][a-z_0-9]*)\}")
Row = Mapping[str, Any]


def _lines(values: Any) -> str:
    return "\n".join(f"- {_text(value)}" for value in values)


def _numbered(values: Any) -> str:
    return "\n".join(f"{number}. {_text(value)}" for number, value in enumerate(values, 1))


def _triples(values: Any) -> str:
    return "; ".join(" | ".join(map(_text, value)) for value in values)


FORMS: dict[str, Callable[[Any], str]] = {
    "lines": _lines,
    "numbered": _numbered,
    "listed": lambda values: ", ".join(map(_text, values)),
    "triples": _triples,
    "rounded": lambda value: str(round(float(value))),
    "lowercase": lambda value: _text(value).lower(),
    "without_punctuation": lambda value: _text(value).translate(str.maketrans("", "", string.punctuation)),
    "without_spaces": lambda value: "".join(_text(value).split()),
    "bytes_literal": lambda value: BYTES.sub(r"\1", _text(value)),
}


class WordingPart(Settings):
    """Something read from a row: a column (`a`), a value inside it (`a.b.0`), several of them, or a constant."""

    path: str | None = None
    items: list[str] | None = Field(default=None, description="paths whose values make a list")
    text: str | None = Field(default=None, description="the same text for every row")
    form: str | None = Field(default=None, description="how it is written: one of FORMS")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, str) else data

    @field_validator("form")
    @classmethod
    def _known(cls, form: str | None) -> str | None:
        if form is not None and form not in FORMS:
            raise ValueError(choices(form, FORMS))
        return form

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.path, self.items, self.text].count(None) != 2:
            raise ValueError("give exactly one of path, items, text")
        return self

    @property
    def columns(self) -> set[str]:
        """Return the columns of the dataset that this reads."""
        paths = self.items or ([self.path] if self.path else [])
        return {path.split(".")[0] for path in paths}

    def value(self, row: Row) -> Any:
        """Return what the row holds there; raises `Unusable` if there is nothing."""
        if self.text is not None:
            return self.text
        if self.items is not None:
            return [_reach(row, path) for path in self.items]
        return _reach(row, self.path or "")

    def write(self, row: Row) -> str:
        """Return it as text; raises `Unusable` if there is none."""
        value = self.value(row)
        written = FORMS[self.form](value) if self.form else _text(value)
        if not written.strip():
            raise Unusable("empty")
        return written


class Target(WordingPart):
    """The answer: the value that is read, or the words for it, or the item of a list (`of`) that it points to."""

    words: dict[str, str] | None = Field(default=None, description="value -> words; other values have no answer")
    of: WordingPart | None = Field(default=None, description="the list that the value points into, by place from 0 …")
    keys: str | list[str] | None = Field(default=None, description="… or by these names of the places")
    otherwise: str | None = Field(default=None, description="the answer of a row that has none")

    @property
    def columns(self) -> set[str]:
        """Return the columns of the dataset that this reads."""
        inner = self.of.columns if self.of else set[str]()
        return super().columns | inner | ({self.keys.split(".")[0]} if isinstance(self.keys, str) else set[str]())

    def write(self, row: Row) -> str:
        """Return the answer as text; raises `Unusable` if there is none."""
        if self.words is None and self.of is None:
            try:
                return super().write(row)
            except Unusable:
                if self.otherwise is None:
                    raise
                return self.otherwise
        given = str(self.value(row))
        if self.words is not None:
            if given not in self.words:
                raise Unusable("without a label")
            return self.words[given]
        values = list(self.of.value(row)) if self.of else []
        keys = _reach(row, self.keys) if isinstance(self.keys, str) else self.keys or range(len(values))
        places = [place for place, key in enumerate(keys) if str(key) == given]
        if not places or places[0] >= len(values):
            raise Unusable("without a label")
        return _text(values[places[0]])


class Where(Settings):
    """Where the raw rows are: a dataset on the hub, its configuration and the splits that have labels."""

    repository: str
    config: str | None = Field(default=None, description="default: the only one it has")
    train: str = "train"
    test: str | None = Field(default="validation", description="null: test prompts are split off train")
    rows: int | None = Field(default=None, description="read only so many rows of a split that is far too large")
    fields: dict[str, WordingPart] = Field(default_factory=dict[str, WordingPart])
    target: Target | None = None


class Group(Settings):
    """A template group: the datasets it words, what is read from their rows, and ten templates."""

    datasets: dict[str, Where]
    fields: dict[str, WordingPart] = Field(default_factory=dict[str, WordingPart])
    target: Target | None = None
    templates: list[str] = Field(min_length=TEMPLATES, max_length=TEMPLATES)

    @field_validator("templates")
    @classmethod
    def _stripped(cls, templates: list[str]) -> list[str]:
        return [template.strip() for template in templates]

    @model_validator(mode="after")
    def _all_known(self) -> Self:
        for where in self.datasets.values():
            known = {*self.fields, *where.fields}
            for template in self.templates:
                unknown = set(SLOT.findall(template)) - known
                if unknown:
                    raise ValueError(f"templates: {template!r}: {choices(min(unknown), known)}")
        return self

    def parts(self, name: str) -> tuple[dict[str, WordingPart], Target]:
        """Return the fields and the target of one of its datasets."""
        where = self.datasets[name]
        target = where.target or self.target
        assert target is not None, f"{name} has no target"
        return {**self.fields, **where.fields}, target

    def columns(self, name: str) -> list[str]:
        """Return the columns that have to be read for one of its datasets."""
        fields, target = self.parts(name)
        return sorted(set[str]().union(target.columns, *(part.columns for part in fields.values())))

    def example(self, name: str, row: Row) -> Example:
        """Return the example that a row makes, in the template that its fields draw.

        The draw is by a hash of what the fields hold, so that equal inputs get the same wording everywhere. Raises
        `Unusable` with the reason if it makes none.
        """
        fields, target = self.parts(name)
        written = {field: part.write(row) for field, part in fields.items()}
        identity = "\x1f".join(written.values()).encode("utf-8", "surrogatepass")
        number = int.from_bytes(blake2b(identity, digest_size=8).digest()) % TEMPLATES
        answer = target.write(row)
        if not answer.strip():
            raise Unusable("empty")
        return Example(render(self.templates[number], written), answer, f"{name}-{number}")


def render(template: str, written: Mapping[str, str]) -> str:
    """Return the template with each `{field}` replaced once; inserted text is never parsed for fields.

    Raises `KeyError` for a field that is not there.
    """
    return SLOT.sub(lambda slot: written[slot[1]], template)


def _reach(row: Row, path: str) -> Any:
    value: Any = row
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Unusable("empty") from error
    if value is None:
        raise Unusable("empty")
    return value


def _text(value: Any) -> str:
    return str(value).strip()
