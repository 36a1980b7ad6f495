"""The command `mossa advise`: from a finished run to a LoRA configuration, and a test of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mossa.errors import MossaError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from mossa.pipeline.advice import StudyAdvice
    from mossa.pipeline.run import Means, Prepared

EXIT_PARTIAL = 3


def advise(
    study: Annotated[Path, typer.Argument(help="the study file (YAML)", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="override a field")
    ] = None,
    runs: Annotated[Path, typer.Option(help="folder that holds the run folders")] = Path("runs"),
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
    from mossa.pipeline.advice import advise_study, write_advice
    from mossa.pipeline.results import gather
    from mossa.pipeline.run import Means, prepare
    from mossa.study import load_study
    from mossa.terminal import open_console

    means = Means(device, workers)
    prepared = prepare(load_study(study, overrides or ()), runs)
    tables = gather(prepared.run, prepared.units, prepared.fingerprints)
    if "similarity" not in tables:
        raise MossaError(f"{prepared.run.path} has no results yet. Run first: mossa run {study}")
    console = open_console()
    if prepared.todo:
        console.print(
            f"{len(prepared.todo)} of {len(prepared.units)} units are not done; the advice is drawn from the others.",
            style="yellow",
            highlight=False,
        )
    found = advise_study(prepared.study, tables, model)
    folder = write_advice(found, prepared.run)
    _say(console, found)
    console.print(f"Written: {folder}", highlight=False, markup=False)
    if validate:
        _validate(console, prepared, found, tables, runs, means)


def _say(console: Console, found: StudyAdvice) -> None:
    from mossa.report.advice import headline, resemblance

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    say(headline(found.advice))
    say(found.advice.reason)
    if found.saving:
        say(f"\n{found.python()}")
        say("Against the same adapter on all layers:")
        for line in found.saving.lines():
            say(f"* {line}")
    for sentence in resemblance(found.advice.nearest, found.advice.held_out):
        say(f"* {sentence}")


def _validate(
    console: Console,
    prepared: Prepared,
    found: StudyAdvice,
    tables: dict[str, pd.DataFrame],
    runs: Path,
    means: Means,
) -> None:
    """Train every arm on the tasks held out of the map, compare, write and say the outcome."""
    from functools import partial

    from mossa.pipeline.advice_trial import judge_trial, prepare_trial, write_outcome
    from mossa.report.advice import outcome
    from mossa.terminal import run_prepared, say_finished, stoppable

    trial = prepare_trial(prepared.study, found.advice, tables, runs)
    with stoppable():
        conclude = partial(say_finished, console)
        finished = {name: run_prepared(console, one, means, conclude) for name, one in trial.prepared.items()}
        judged = judge_trial(trial, finished)
        page = write_outcome(judged, prepared.run)
    for sentence in outcome(judged.against):
        console.print(f"* {sentence}", highlight=False, markup=False)
    console.print(f"Outcome: {page}", highlight=False, markup=False)
    if any(one.failed for one in finished.values()):
        raise typer.Exit(EXIT_PARTIAL)
