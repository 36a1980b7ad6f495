"""What the terminal shows when a study or a comparison has ended, and how it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mossa.names import count

SHOWN = ("cka-linear-debiased", "cka-linear-calibrated", "one-layer-change", "answer-gain-increment", "norm-ratio")
COLOURS = {"lost": "red", "won": "green", "not decidable": "yellow"}

if TYPE_CHECKING:
    from rich.console import Console

    from mossa.api.diff import Diff
    from mossa.run.publish import Published
    from mossa.run.run import Finished

EXIT_STOPPED = 130


def open_console() -> Console:
    """Return a console that never breaks lines."""
    from rich.console import Console

    return Console(soft_wrap=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """Answer Ctrl-C, and a scheduler's signal before it kills, with how to continue."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nStopped. What is done is kept; run the same command again to continue.", err=True)
        raise typer.Exit(EXIT_STOPPED) from None


def write_report(console: Console, finished: Finished) -> None:
    """Write the report unless it is there already, and say its headline."""
    from mossa.run.publish import is_current, publish

    record = finished.prepared.record
    if is_current(record):
        say_page(console, record.run.path / "report" / "index.html")
    elif "similarity" in finished.tables:
        say_headline(console, publish(record, finished.tables))
    else:
        console.print("There is no report: no control could be compared with anything.", style="yellow")


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


def print_diff(console: Console, found: Diff) -> None:
    """Print each task of the tuned model by its own measure, lost ones first; then the layers; then a sentence."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("task", "verdict", "by", "n", "before", "after", "change", "q"):
        table.add_column(name, justify="left" if name in ("task", "verdict", "by") else "right", no_wrap=True)
    for row in found.final.to_dict("records"):
        table.add_row(*_cells(row), style=COLOURS.get(row["verdict"]))
    console.width = max(console.width, console.measure(table, options=console.options.update(max_width=999)).maximum)
    console.print(table)  # a narrow terminal breaks its lines, and nothing is cut
    medians = found.medians[found.medians["model"].eq(found.about["models"][-1])]
    layers = medians.pivot(index="layer", columns="reading", values="value").reindex(columns=list(SHOWN))
    console.print(f"Median over {count(len(found.final), 'task')}:", highlight=False)
    console.print(layers.to_string(float_format="{:.3f}".format, na_rep="none"), highlight=False, markup=False)
    if len(found.about["models"]) > 1 and len(found.forgotten):
        console.print("\nLost since:", highlight=False)
        console.print(found.forgotten[["task", "since"]].to_string(index=False, header=False), highlight=False)
    console.print(f"\n{found.sentence}", style="bold", highlight=False, markup=False)


def _cells(row: dict[Hashable, Any]) -> list[str]:
    """Return a row of tasks as text: what its verdict is by, and the change with its interval."""
    start = [str(row["task"]), str(row["verdict"])]
    if not row["n"]:
        return [*start, "", "0", *[""] * 4]
    what = "exact" if row["measure"] == "exact match" else "loss"
    low, high = row[f"{what}_low"], row[f"{what}_high"]
    ends = "" if low is None or low != low else f" [{low:+.2f}, {high:+.2f}]"
    numbers = [f"{row[f'{what}_before']:.2f}", f"{row[f'{what}_after']:.2f}", f"{row[f'{what}_change']:+.2f}{ends}"]
    return [*start, what, str(row["n"]), *numbers, f"{row['q_value']:.2g}"]
