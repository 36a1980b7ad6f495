"""`python -m experiments.place`: does a reading point at the layer that does it? See docs/explanation/place.md."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from mossa.cli import main

app = typer.Typer(add_completion=False, no_args_is_help=True)
Runs = Annotated[Path, typer.Option(help="folder that holds the cases and their scores")]


@app.command()
def train(runs: Runs = Path("runs/place")) -> None:
    """Train all cases; what is there already is kept, so a killed process goes on."""
    from experiments.place.cases import cases, train_all

    train_all(cases(), runs, typer.echo)


@app.command()
def second(first: Path = Path("runs/place"), runs: Path = Path("runs/place-2")) -> None:
    """Train the crossed models of the second round, with the controls and shams of the first."""
    from experiments.place.cases import train_second

    train_second(first, runs, typer.echo)


@app.command()
def real(runs: Runs = Path("runs/place-real")) -> None:
    """Train and score the crossed models on a real language model; several processes may share the folder."""
    from experiments.place.cases import THIRD, real_cases, train_all
    from experiments.place.contestants import REAL_CONTESTANTS
    from experiments.place.score import score_all

    train_all(real_cases(), runs, typer.echo, THIRD)
    score_all(real_cases(), runs, REAL_CONTESTANTS, "scores", typer.echo)


@app.command()
def score(
    reading: Annotated[str | None, typer.Argument(help="module:function of another reading; default: all")] = None,
    runs: Runs = Path("runs/place"),
) -> None:
    """Score all trained cases that have no score yet."""
    from experiments.place.cases import cases
    from experiments.place.score import score_all

    if reading is None:
        score_all(cases(), runs, None, "scores", typer.echo)
        return
    module, _, function = reading.partition(":")
    score_all(
        cases(), runs, {function: getattr(importlib.import_module(module), function)}, f"scores-{function}", typer.echo
    )


@app.command()
def table(
    scores: Annotated[str, typer.Option(help="folder of scores")] = "scores",
    runs: Runs = Path("runs/place"),
    relative: Annotated[bool, typer.Option(help="count models by the rule of the second round")] = False,
) -> None:
    """Print the tables of the outcome as Markdown, from the scores that are there."""
    from experiments.place.verdict import counts, counts_relatively, outcome

    typer.echo(outcome(runs / scores, counts_relatively if relative else counts))


@app.command()
def real_curves(run: Path, experimental: str = "sft", answers: bool = False) -> None:
    """Measure what first and last layers and windows of a model tuned in all layers are worth; goes on if stopped."""
    from experiments.place.grafts import compute_curves

    for task in compute_curves(run, experimental, answers):
        typer.echo(task)


@app.command()
def real_grafts(run: Path, experimental: str = "sft", answers: bool = False) -> None:
    """Print how readings of a model tuned in all layers rank them, against what the layers are worth."""
    from experiments.place.grafts import against_grafts

    typer.echo(against_grafts(run, experimental, answers))


@app.command()
def draw_curves(run: Path, target: Path = Path("curves.png")) -> None:
    """Draw what first and last layers of a model are worth alone, from what real-curves has measured."""
    from experiments.place.curves_figure import draw_curves

    draw_curves(run, target)


@app.command()
def windows(runs: Runs = Path("runs/place")) -> None:
    """Tune every task on windows of two layers, and print what readings of place would have advised."""
    from experiments.place.windows import outcome, train_windows

    train_windows(runs, typer.echo)
    typer.echo(outcome(runs, runs / "scores"))


if __name__ == "__main__":
    main(app)
