"""`python -m experiments.advice STUDY`: from a finished run to a LoRA configuration, and a test of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mossa.cli import main
from mossa.errors import MossaError
from mossa.options import EXIT_PARTIAL, Overrides, Runs, StudyFile, run_command

app = typer.Typer(add_completion=False)


@app.command()
def advise(
    study: StudyFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    model: Annotated[
        str | None, typer.Option(help="the tuned model whose map is read; default: the first that left tasks out")
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="test the advice: train held-out tasks on these and on other layers")
    ] = False,
    device: Annotated[str, typer.Option(help="with --validate: auto, cpu, cuda or cuda:0")] = "auto",
    workers: Annotated[int | None, typer.Option(help="with --validate: processes; default: as in `mossa run`")] = None,
) -> None:
    """Say which layers to adapt for new tasks, from a finished run; --validate tests it."""
    from experiments.advice.advice import LayerAdvice
    from mossa.api.study import Study
    from mossa.terminal import stoppable

    results = Study.load(study, *overrides or (), runs=runs).results()
    if "similarity" not in results.tables:
        first = run_command(study, overrides)
        raise MossaError(f"{results.folder} has no results of this study as it is now. Run first: {first}")
    undone = sum(found.state != "done" for found in results.status.values())
    if undone:
        typer.echo(f"{undone} of {len(results.status)} units are not done; the advice is drawn from the others.")
    found = LayerAdvice(results.record, results.tables, model)
    folder = found.save()
    typer.echo(found)
    typer.echo(f"Written: {folder}")
    if not validate:
        return
    with stoppable():
        tested = found.test(device, workers)
    typer.echo(tested)
    typer.echo(f"Outcome: {tested.page}")
    if tested.failed:
        raise typer.Exit(EXIT_PARTIAL)


if __name__ == "__main__":
    main(app)
