"""What a person at a terminal is told when a study has ended, and how it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from mossa.run.publish import Published
    from mossa.run.run import Prepared

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


def write_report(console: Console, prepared: Prepared, tables: dict[str, pd.DataFrame]) -> None:
    """Write the report unless it is there already, and say the main answers."""
    from mossa.run.publish import is_current, publish

    if "similarity" not in tables:
        console.print("There is no report: no control could be compared with anything.", style="yellow")
    elif is_current(prepared.record):
        say_page(console, prepared.run.path / "report" / "index.html")
    else:
        say_answers(console, publish(prepared.record, tables))


def say_answers(console: Console, published: Published) -> None:
    """Say the main answers and where the report is that has all of them."""
    for question, lines in MAIN_ANSWERS.items():
        for sentence in [sentence for asked, sentence in published.answers if asked == question][:lines]:
            console.print(f"* {sentence}", highlight=False, markup=False)
    say_page(console, published.page)


def say_page(console: Console, page: Path) -> None:
    """Say where the report is."""
    console.print(f"Report: {page}", highlight=False, markup=False)
