"""What several commands take and answer alike."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

EXIT_PROBLEM, EXIT_PARTIAL = 2, 3

StudyFile = Annotated[Path, typer.Argument(help="the study file (YAML)", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="override a field, e.g. recipe.batch_size=8"),
]
Rehearsal = Annotated[bool, typer.Option(help="first try base and recipe on two prompts, once per base")]
Runs = Annotated[Path, typer.Option(help="folder that holds the run folders")]


def run_command(study: Path, overrides: list[str] | None) -> str:
    """Return the command that runs this study with these overrides."""
    return shlex.join(["mossa", "run", str(study), *(word for each in overrides or () for word in ("-s", each))])
