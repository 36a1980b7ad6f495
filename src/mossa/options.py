"""Options and exit codes that several commands share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from mossa.errors import StudyError

RUNS = Path("runs")  # where run folders are by default
EXIT_PROBLEM, EXIT_PARTIAL, EXIT_LOST = 2, 3, 4

StudyFile = Annotated[Path, typer.Argument(help="the study file (YAML)", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="override a field, e.g. recipe.batch_size=8"),
]
Rehearsal = Annotated[bool, typer.Option(help="first try base and recipe on two prompts, once per base")]
Template = Annotated[str, typer.Option(help="auto, chat, plain, llama2, or a text with {prompt}")]
System = Annotated[str | None, typer.Option(help="system message for templates that have one")]
Cutoff = Annotated[int | None, typer.Option(help="longest input in tokens; default: what the model takes")]
DType = Annotated[Literal["float32", "bfloat16"], typer.Option(help="number format of the weights")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, or several for one base: cuda:0+cuda:1")]
Runs = Annotated[Path, typer.Option(help="folder that holds the run folders")]


def run_command(study: Path, overrides: list[str] | None, runs: Path = RUNS) -> str:
    """Return the command that runs this study with these overrides, in this folder of runs."""
    given = [word for each in overrides or () for word in ("-s", each)]
    return shlex.join(["mossa", "run", str(study), *given, *(() if runs == RUNS else ("--runs", str(runs)))])


def keyed(given: list[str] | None, option: str) -> dict[str, str] | None:
    """Return what was given as KEY=VALUE; raises `StudyError` for anything else."""
    pairs = [each.partition("=") for each in given or ()]
    if bad := [key for key, equals, value in pairs if not (key and equals and value)]:
        raise StudyError(f"{option} {bad[0]}: give KEY=VALUE, such as {option} prompt=question.")
    return {key: value for key, _, value in pairs} or None
