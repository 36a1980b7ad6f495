"""Reads a study file and reports every problem in it at once, with its line."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mossa.errors import StudyError, choices
from mossa.names import count
from mossa.study.paths import built_in_studies, locate, resolve_paths
from mossa.study.recipe import RECIPES
from mossa.study.schema import StudySettings

Part = TypeVar("Part", bound=BaseModel)
LARGEST_STUDY_FILE = 1_000_000  # bytes; a study file is written by hand
MOST_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a study: where (line in the file, dotted place) and what to do about it."""

    place: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, " if self.line else ""
        return f"{where}{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class ReadStudy:
    """What reading a study file gave: the study if it is valid, the problems if not, and the lines of its keys."""

    study: StudySettings | None
    problems: list[Problem]
    lines: dict[tuple[str, ...], int]

    def problem(self, place: Sequence[str], message: str) -> Problem:
        """Return a `Problem` at the dotted `place`, with the line of the nearest key that the file has."""
        return Problem(".".join(place), message, nearest_line(self.lines, tuple(place)))

    def valid(self, name: str) -> StudySettings:
        """Return the study; raises `StudyError`, beginning with its `name`, that lists every problem if it has any."""
        if self.study is None:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            raise StudyError(f"{name}: {count(len(self.problems), 'problem')}\n{listed}")
        return self.study


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudySettings:
    """Return the study in `path`; raises `StudyError` that lists every problem."""
    return read_study(path, overrides).valid(str(path))


def read_study(path: Path, overrides: Sequence[str] = ()) -> ReadStudy:
    """Read `path`, apply `key=value` overrides, validate; relative paths are resolved beside the file.

    Raises `StudyError` if the file cannot be read or an override is not of the form `key=value`.
    """
    path = locate(path)
    text = _read_text(path)
    try:
        data, lines, repeated = _parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else None
        remedy = " Indent with spaces instead of tabs." if "'\\t'" in what else ""
        return ReadStudy(None, [Problem("file", f"this is not YAML: {what}.{remedy}", line)], {})
    if not isinstance(data, dict):
        hint = "run `mossa init` to get one to start from"
        return ReadStudy(None, [Problem("file", f"a study is a mapping of keys to values; {hint}.", 1)], {})
    return _read(data, overrides, path.resolve().parent, lines, repeated)


def read_settings(settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> ReadStudy:
    """Read a study that is a mapping already, as `read_study` does; relative paths are those of the working directory.

    Raises `StudyError` if an override is not of the form `key=value`.
    """
    return _read(copy.deepcopy(dict(settings)), overrides, Path.cwd(), {}, [])


def _read(
    data: dict[str, Any],
    overrides: Sequence[str],
    folder: Path,
    lines: dict[tuple[str, ...], int],
    repeated: list[Problem],
) -> ReadStudy:
    for override in overrides:
        _apply_override(data, override)
    data, unknown = _without_unknown_preset(data, lines)
    problems = repeated + unknown
    try:
        study = StudySettings.model_validate(data)
    except ValidationError as error:
        found = [_explain(details, lines) for details in error.errors(include_url=False)]
        return ReadStudy(None, problems + found, lines)
    if problems:
        return ReadStudy(None, problems, lines)
    return ReadStudy(resolve_paths(study, folder), [], lines)


def checked(kind: type[Part], **values: Any) -> Part:
    """Return a part of a study from values that are in no file; raises `StudyError` for all that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = [str(_explain(details, {})) for details in error.errors(include_url=False)]
        raise StudyError(" ".join(found)) from error


def nearest_line(lines: dict[tuple[str, ...], int], place: tuple[str, ...]) -> int | None:
    """Return the line of `place` in the file, or of the nearest key above it."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def _read_text(path: Path) -> str:
    if (path / "study.yaml").is_file():
        raise StudyError(
            f"{path} is a run folder. Give the study in it, and the folder that contains it: "
            f"{path / 'study.yaml'} --runs {path.parent}"
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        beside = [file for file in path.parent.glob("*.y*ml") if file.stem == path.stem]
        near = [*beside, *difflib.get_close_matches(str(path), built_in_studies(), n=1)]
        raise StudyError(
            f"{path} {what}. {f'Did you mean {near[0]}? ' if near else ''}Give a study file, or one that comes with "
            f"mossa ({', '.join(built_in_studies())}), or make one with: mossa init {path.stem or 'study'}.yaml"
        )
    if path.stat().st_size > LARGEST_STUDY_FILE:
        raise StudyError(f"{path} has {path.stat().st_size:,} bytes; a study file has at most {LARGEST_STUDY_FILE:,}.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def _parse(text: str) -> tuple[Any, dict[tuple[str, ...], int], list[Problem]]:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        lines: dict[tuple[str, ...], int] = {}
        repeated: list[Problem] = []
        _collect_lines(node, (), lines, repeated, 0)
        return (loader.construct_document(node) if node is not None else None), lines, repeated
    except (RecursionError, ValueError, TypeError, OverflowError) as error:
        raise yaml.YAMLError(str(error) or type(error).__name__) from error
    finally:
        loader.dispose()


def _collect_lines(
    node: yaml.Node | None,
    place: tuple[str, ...],
    lines: dict[tuple[str, ...], int],
    repeated: list[Problem],
    depth: int,
) -> None:
    if len(lines) > MOST_KEYS:  # aliases of aliases can expand to billions
        raise yaml.YAMLError(f"it has more than {MOST_KEYS:,} keys and items")
    if depth > 20:  # also stops aliases that contain themselves
        raise yaml.YAMLError("it is nested more than 20 levels deep")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            line = key.start_mark.line + 1
            if inner in lines:
                repeated.append(
                    Problem(".".join(inner), f"this key is already on line {lines[inner]}; keep one.", line)
                )
            lines[inner] = line
            _collect_lines(value, inner, lines, repeated, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*place, str(index))
            lines[inner] = value.start_mark.line + 1
            _collect_lines(value, inner, lines, repeated, depth + 1)


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise StudyError(f"-s {override!r} is not of the form key=value; for example: -s recipe.batch_size=8")
    try:
        value, _, _ = _parse(text)
    except yaml.YAMLError as error:
        raise StudyError(f"-s {override!r}: the value is not YAML: {error}") from error
    inner = data
    for part in parts[:-1]:
        if part == "budget" or not isinstance(inner.get(part), dict):  # a budget is one choice: it is replaced
            # `recipe: paper` is short for `recipe: {preset: paper}`
            inner[part] = {"preset": inner[part]} if part == "recipe" and isinstance(inner.get(part), str) else {}
        inner = inner[part]
    inner[parts[-1]] = value


def _without_unknown_preset(
    data: dict[str, Any], lines: dict[tuple[str, ...], int]
) -> tuple[dict[str, Any], list[Problem]]:
    """Report an unknown preset as a problem and remove it from `data`, so that other problems are found too."""
    recipe = data.get("recipe")
    place, preset = ("recipe",), recipe
    if isinstance(recipe, dict):
        place, preset = ("recipe", "preset"), recipe.get("preset", next(iter(RECIPES)))
    if recipe is None or (isinstance(preset, str) and preset in RECIPES):
        return data, []
    rest = {key: value for key, value in recipe.items() if key != "preset"} if isinstance(recipe, dict) else {}
    named = preset[:80] if isinstance(preset, str) else ""
    message = f"there is no preset {_shown(preset)}. {choices(named, RECIPES)}"
    return {**data, "recipe": rest}, [Problem(".".join(place), message, nearest_line(lines, place))]


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write numbers of many thousand digits
        return "a very long number"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _explain(details: ErrorDetails, lines: dict[tuple[str, ...], int]) -> Problem:
    # pydantic adds tags for the members of a union to its locations; no file has such keys.
    place = tuple(str(part) for part in details["loc"] if not _is_tag(str(part)))
    message = details["msg"].removeprefix("Value error, ")
    given = details.get("input")
    if details["type"] == "extra_forbidden":
        message = f"there is no such key. {choices(place[-1], _keys_at(place[:-1]))}"
    elif details["type"] == "missing":
        message = "this key is missing."
    elif details["type"] == "model_type" and (keys := _keys_at(place)):
        message = f"write {place[-1]}: {{{keys[0]}: …}}. The keys are: {', '.join(keys)} (here: {_shown(given)})"
    elif details["type"] == "string_type" and isinstance(given, dict):
        message = "write a text; in quotes if there is a colon in it"
    elif details["type"] == "dict_type":
        message = f"write a mapping, one `name: …` per line (here: {_shown(given)})"
    elif details["type"] == "list_type" and not isinstance(given, dict | BaseModel):
        message = f"write a list: [{given}]" if isinstance(given, str) and len(given) <= 80 else "write a list, in []"
    elif not isinstance(given, dict | list | BaseModel):
        message = f"{message} (here: {_shown(given)})"
    return Problem(".".join(place) or "study", message.rstrip(".") + ".", nearest_line(lines, place))


def _is_tag(part: str) -> bool:
    return part == "list[str]" or part.startswith(("literal[", "function-", "constrained-"))


def _keys_at(place: tuple[str, ...]) -> list[str]:
    model: Any = StudySettings
    for part in place:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(part)
            # below `experimental` the next part is a name that the user chose
            model = _model_in(field.annotation) if field else model
    names = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    return [*names, "preset"] if place == ("recipe",) else names


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)
