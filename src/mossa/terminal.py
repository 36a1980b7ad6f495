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
    """Write the report unless it is there already, and say its headline."""
    from mossa.run.publish import is_current, publish

    if "similarity" not in tables:
        console.print("There is no report: no control could be compared with anything.", style="yellow")
    elif is_current(prepared.record):
        say_page(console, prepared.run.path / "report" / "index.html")
    else:
        say_headline(console, publish(prepared.record, tables))


def say_headline(console: Console, published: Published) -> None:
    """Say the headline of the page, one caveat, and where the report is that has the rest."""
    told = published.headline
    console.print(told.title, style="bold", highlight=False, markup=False)
    for point in told.points:
        console.print(f"* {point.sentence}", highlight=False, markup=False)
    if told.caution:
        console.print(f"! {told.caution}", style="yellow", highlight=False, markup=False)
    say_page(console, published.page)


def say_page(console: Console, page: Path) -> None:
    """Say where the report is."""
    console.print(f"Report: {page}", highlight=False, markup=False)
