"""What a person at a terminal is told while a study runs and when it has ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from mossa.pipeline.run import Finished, Means, Prepared

MAIN_ANSWERS = {"rq1": 1, "rq2": 2, "rq3": 2}  # lines of each research question on the terminal; the report has all
EXIT_STOPPED = 130


def open_console() -> Console:
    """Return a console that never breaks lines."""
    from rich.console import Console

    return Console(soft_wrap=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """Answer Ctrl-C, and what a scheduler sends before it kills, with how to go on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nStopped. What is done is kept; run the same command again to go on.", err=True)
        raise typer.Exit(EXIT_STOPPED) from None


def run_prepared(console: Console, prepared: Prepared, means: Means, conclude: Callable[[Finished], None]) -> Finished:
    """Do what is left of a study and show how it goes."""
    from mossa.pipeline.progress import Display
    from mossa.pipeline.run import run_study

    todo = len(prepared.todo)
    display = Display(console, todo)
    console.print(
        f"{prepared.study.name}: {len(prepared.units)} units, {len(prepared.units) - todo} done already, {todo} to do.",
        highlight=False,
    )
    with display.showing():
        return run_study(prepared, means, display.event, display.say, conclude)


def say_finished(console: Console, finished: Finished) -> None:
    """Say what a run did and where its tables are."""
    if not finished.done and not finished.failed:
        console.print("Nothing to do: every unit is done and nothing has changed.", highlight=False)
    else:
        console.print(
            f"{len(finished.done)} units done, {finished.kept} kept from before, {len(finished.failed)} failed.",
            highlight=False,
        )
    if finished.tables is None:
        console.print("Another shard has written tables and report.", highlight=False)
    console.print(f"Tables: {finished.prepared.run.path / 'results'}", highlight=False, markup=False)


def write_report(
    console: Console,
    prepared: Prepared,
    tables: dict[str, pd.DataFrame],
    form: Literal["html", "md"] = "html",
    again: bool = False,
) -> None:
    """Write the report unless it is there already, and say the main answers."""
    from mossa.pipeline.publish import is_current, publish

    if "similarity" not in tables:
        console.print("There is no report: no control could be compared with anything.", style="yellow")
        return
    if not again and is_current(prepared):
        page = prepared.run.path / "report" / "index.html"
        console.print(f"Report: {page}", highlight=False, markup=False)
        return
    from mossa.analysis import analyse

    page = publish(prepared, tables, form)
    answers = analyse(tables).answers
    for question, lines in MAIN_ANSWERS.items():
        for sentence in [sentence for asked, sentence in answers if asked == question][:lines]:
            console.print(f"* {sentence}", highlight=False, markup=False)
    console.print(f"Report: {page}", highlight=False, markup=False)
