"""Every command with its arguments and options, as Markdown: from the functions that typer calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

from mossa.cli import app

WORDS = {str: "text", Path: "path", int: "whole number", float: "number", bool: "", list: "text, any number of times"}


def lines() -> list[str]:
    """Return one section per command: what it does, how it is called, and a row per argument and option."""
    written: list[str] = []
    for name, function in sorted(_commands(app, "mossa"), key=lambda found: found[0]):
        rows = list(_parameters(function))
        arguments = "".join(f" {row[0].strip('`')}" for row in rows if not row[0].startswith("`-"))
        written += ["", f"## `{name}`", "", _plain(inspect.getdoc(function) or ""), ""]
        written += ["```", f"{name}{arguments} [OPTIONS]", "```", ""]
        written += ["| | values | default | meaning |", "| --- | --- | --- | --- |"]
        written += [f"| {' | '.join(row)} |" for row in rows]
    return written


def _commands(group: typer.Typer, called: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield (the words that call it, its function) for every command of a group and of the groups inside it."""
    for command in group.registered_commands:
        if command.callback:
            name = command.name or command.callback.__name__.replace("_", "-")
            yield f"{called} {name}", command.callback
    for inner in group.registered_groups:
        if inner.typer_instance:
            yield from _commands(inner.typer_instance, f"{called} {inner.name}")


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (name, values, default, meaning) for every argument and option."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *told = get_args(hints[name])  # Annotated[kind, told]
        info = told[0]
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            shown = name.upper() if required else f"[{name.upper()}]"
        else:
            flags = (f"--{name.replace('_', '-')}", f"--no-{name.replace('_', '-')}")
            # Inside Annotated, typer takes the first name that was given for a default.
            given = [flag for flag in (info.default, *(info.param_decls or ())) if isinstance(flag, str)]
            shown = "`, `".join(given or (flags if kind is bool and parameter.default else flags[:1]))
        default = "required" if required else "" if parameter.default in (None, False) else f"`{parameter.default}`"
        values = f"`{info.metavar}`" if info.metavar else _values(kind)
        yield f"`{shown}`", values, "" if kind is bool else default, _plain(info.help or "")


def _values(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if kind in WORDS:
        return WORDS[kind]
    if get_origin(kind) is list:
        return WORDS[list]
    return next(_values(inner) for inner in get_args(kind) if inner is not type(None))


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
