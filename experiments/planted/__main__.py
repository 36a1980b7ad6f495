"""`python -m experiments.planted`: does the method find what the bases of TinyFLAN were taught?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mossa.cli import main
from mossa.options import EXIT_PARTIAL, Overrides
from mossa.terminal import stoppable

app = typer.Typer(add_completion=False)


@app.command()
def trial(
    overrides: Overrides = None,
    bases: Annotated[str, typer.Option(help="which bases, with commas between")] = "a,b,all,random",
    runs: Annotated[Path, typer.Option(help="folder that holds the run folders")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0")] = "auto",
    workers: Annotated[int | None, typer.Option(help="processes; default: one per core")] = None,
) -> None:
    """Run the same study on every base of TinyFLAN and compare what it finds with what was planted."""
    from experiments.planted.trial import trial

    with stoppable():
        verdict = trial(*overrides or (), bases=bases.split(","), runs=runs, device=device, workers=workers)
    typer.echo(verdict)
    typer.echo(f"Outcome: {verdict.page}")
    if verdict.failed:
        raise typer.Exit(EXIT_PARTIAL)


if __name__ == "__main__":
    main(app)
