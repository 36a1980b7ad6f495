"""`python -m experiments.forgetting`: the trial of `mossa diff`. See docs/explanation/diff.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mossa.cli import main

app = typer.Typer(add_completion=False, no_args_is_help=True)
Runs = Annotated[Path, typer.Option(help="folder that holds the answers")]


@app.command()
def answer(runs: Runs = Path("runs/forgetting")) -> None:
    """Tune all models and keep their answers; what is there already is kept, so a killed process goes on."""
    from experiments.forgetting.trial import answer_all

    answer_all(runs, typer.echo)


@app.command()
def table(runs: Runs = Path("runs/forgetting")) -> None:
    """Print the tables of the outcome as Markdown."""
    from experiments.forgetting.score import outcome

    typer.echo(outcome(runs))


if __name__ == "__main__":
    main(app)
