"""Every field of a study file, as Markdown tables: from the schema that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from mossa.study.recipe import RECIPES, Budget
from mossa.study.schema import Existing, Experimental, StudySettings

# What stands below a name that the user chooses, and not below a field.
BELOW_A_NAME: dict[type[BaseModel], str] = {Existing: "TASK", Experimental: "NAME"}
WORDS = {"string": "text", "boolean": "`true`, `false`", "array": "a list", "object": "a mapping", "null": ""}


def lines() -> list[str]:
    """Return one section per part of a study, in the order of the schema, and the recipes that have a name."""
    written: list[str] = []
    for place, part in _parts(StudySettings, ""):
        schema = part.model_json_schema()
        written += ["", f"## `{place}`" if place else "## The whole file", "", _plain(_summary(part)), ""]
        written += ["| field | values | default | meaning |", "| --- | --- | --- | --- |"]
        written += [_row(place, name, field, schema) for name, field in schema["properties"].items()]
    written += ["", "## Recipes by name", ""]
    written += [
        "`recipe: paper` is short for `recipe: {preset: paper}`; a key beside `preset` replaces the preset's.",
        "",
    ]
    return [*written, *(f"- `{name}`: `{_yaml(recipe)}`" for name, recipe in RECIPES.items())]


def _parts(part: type[BaseModel], place: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every part with its dotted place, each before what is inside it."""
    yield place, part
    for name, field in part.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None or (inner is Budget and not place.startswith("recipe")):  # one budget is told of, once
            continue
        below = [BELOW_A_NAME[inner]] if inner in BELOW_A_NAME else []
        yield from _parts(inner, ".".join([*([place] if place else []), name, *below]))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)


def _row(place: str, name: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    if not field.get("description"):
        raise ValueError(f"{place}.{name} has no description; give it one in study/schema.py or study/recipe.py")
    default = "required" if name in schema.get("required", ()) else ""
    if field.get("default") not in (None, {}) and not isinstance(field["default"], dict):
        default = f"`{_yaml(field['default'])}`"
    return f"| `{name}` | {_values(field)} | {default} | {_plain(field['description'])} |"


def _values(field: dict[str, Any]) -> str:
    """Say in words what JSON schema says of a field's values."""
    if "anyOf" in field:
        return " or ".join(words for each in field["anyOf"] if (words := _values(each)))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return "a mapping (below)"
    if field["type"] in ("integer", "number"):
        return ("whole number" if field["type"] == "integer" else "number") + _bounds(field)
    return WORDS[field["type"]]


def _bounds(field: dict[str, Any]) -> str:
    """Say the bounds that a person can meet; the largest number that can be stored is none."""
    low, above, high = (field.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if low is not None and high is not None and high < 1000:
        return f" from {low:g} to {high:g}"
    return f", at least {low:g}" if low is not None else f" above {above:g}" if above is not None else ""


def _yaml(value: Any) -> str:
    """Return a value as it is written in a study file, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("\n...\n").strip()


def _summary(part: type[BaseModel]) -> str:
    return (part.__doc__ or "").strip().splitlines()[0]


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
