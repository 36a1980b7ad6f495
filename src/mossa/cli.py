"""The command line: parse, call, print."""

from __future__ import annotations

import io
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mossa import commands
from mossa.errors import MossaError, StudyError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from mossa.pipeline.run import Finished, Prepared

MAIN_ANSWERS = {"rq1": 1, "rq2": 2, "rq3": 2}  # lines of each research question on the terminal; the report has all
EXIT_PROBLEM, EXIT_PARTIAL, EXIT_STOPPED = 2, 3, 130

app = typer.Typer(
    help="Find out, layer by layer, where in a language model a task lives.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

tasks = typer.Typer(help="Look at collections of tasks.", no_args_is_help=True)
app.add_typer(tasks, name="tasks")

StudyFile = Annotated[Path, typer.Argument(help="the study file (YAML)", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="override a field, e.g. recipe.batch_size=8"),
]
Runs = Annotated[Path, typer.Option(help="folder that holds the run folders")]


@app.command()
def init(
    study: StudyFile,
    base: Annotated[str, typer.Option(help="hub id or folder of the base model")],
    tasks: Annotated[str, typer.Option(help="folder of *.jsonl, or the name of a collection")],
) -> None:
    """Write a commented study file to start from."""
    from mossa.study.starter import write_starter

    write_starter(study, base, tasks)
    typer.echo(f"Wrote {study}. Next: mossa validate {study}")


@app.command()
def validate(study: StudyFile, overrides: Overrides = None) -> None:
    """Check a study file and everything it names; list every problem with its line."""
    from mossa.pipeline.check import check_study
    from mossa.study import read_study

    problems, found = check_study(read_study(study, overrides or ()))
    for line in found:
        typer.echo(f"  ok   {line}")
    for problem in problems:
        typer.echo(f"  !!   {problem}")
    if problems:
        raise typer.Exit(_fail(f"{study}: {len(problems)} problem{'s' if len(problems) > 1 else ''}."))
    typer.echo(f"{study} is ready. Next: mossa run {study}")


@app.command()
def run(
    study: StudyFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="processes; default: one per core for a small base, one per GPU, else one")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="be the K-th of N runs that share the work, e.g. of a job array")
    ] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="this machine, or a Ray cluster")] = "local",
    address: Annotated[str | None, typer.Option(help="of the Ray cluster; default: the one found here")] = None,
    report: Annotated[bool, typer.Option(help="write figures and the report at the end")] = True,
) -> None:
    """Train, extract, compare and report; do only what is missing or changed."""
    from mossa.pipeline.progress import Display
    from mossa.pipeline.run import Means, run_study

    means = Means(device, workers, _shard(shard), engine, address)
    console = _console()
    prepared = _prepared(study, overrides, runs)
    todo = len(prepared.todo)
    display = Display(console, todo)
    console.print(
        f"{prepared.study.name}: {len(prepared.units)} units, {len(prepared.units) - todo} done already, {todo} to do.",
        highlight=False,
    )

    def conclude(finished: Finished) -> None:
        _say_finished(console, finished)
        if report:
            _write_report(console, prepared, finished.tables or {})

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a scheduler sends before it kills
    try:
        with display.showing():
            finished = run_study(prepared, means, display.event, display.say, conclude)
    except KeyboardInterrupt:
        typer.echo("\nStopped. What is done is kept; run the same command again to go on.", err=True)
        raise typer.Exit(EXIT_STOPPED) from None
    if finished.tables is None:
        _say_finished(console, finished)
    if finished.failed:
        raise typer.Exit(EXIT_PARTIAL)


@app.command()
def status(study: StudyFile, overrides: Overrides = None, runs: Runs = Path("runs")) -> None:
    """Show which units are done, missing, failed, stale or damaged, and why."""
    prepared = _prepared(study, overrides, runs)
    steps = list(dict.fromkeys(unit.step for unit in prepared.units.values()))
    states = ("done", "missing", "stale", "failed", "damaged")
    typer.echo(f"{prepared.run.path}\n{'':10}" + "".join(f"{state:>9}" for state in states))
    for step in steps:
        found = [prepared.status[name].state for name, unit in prepared.units.items() if unit.step == step]
        typer.echo(f"{step:10}" + "".join(f"{found.count(state):>9}" for state in states))
    for name, found in prepared.status.items():
        if found.state not in ("done", "missing"):
            typer.echo(f"{prepared.units[name].title}: {found.state}: {found.why}")
    left = len(prepared.todo)
    typer.echo("Everything is done." if not left else f"{left} units to do. Next: mossa run {study}")


@app.command()
def report(
    study: StudyFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    format: Annotated[Literal["html", "md"], typer.Option(help="a page, or a text for a README")] = "html",
) -> None:
    """Write figures, tables and the report again from what is there."""
    from mossa.pipeline.results import gather, write_tables
    from mossa.pipeline.runners import at_work

    prepared = _prepared(study, overrides, runs)
    if not prepared.run.units.is_dir():
        raise MossaError(f"{prepared.run.path} has no results yet. Run first: mossa run {study}")
    console = _console()
    with at_work(prepared.run, prepared.plan, True, lambda line: console.print(line, highlight=False)):
        tables = gather(prepared.run, prepared.units, prepared.fingerprints)
        write_tables(tables, prepared.run.path / "results", prepared.run)
        _write_report(console, prepared, tables, format, again=True)


def _shard(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", given)
    if not found or int(found[1]) > int(found[2]):
        raise StudyError(f"--shard {given}: give K/N with K from 1 to N, such as --shard 3/64.")
    return int(found[1]), int(found[2])


@tasks.command("ls")
def list_tasks(
    source: Annotated[
        str | None, typer.Argument(help="a collection, a study file or a folder; default: all collections")
    ] = None,
) -> None:
    """List collections, or the clusters and tasks of one, of a study or of a folder."""
    from mossa.tasks.listing import list_collections, list_source

    typer.echo("\n".join(list_collections() if source is None else list_source(source)))


@tasks.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="a task", show_default=False)],
    of: Annotated[str | None, typer.Option(help="a collection, a study file or a folder")] = None,
) -> None:
    """Show where a task comes from, how many examples it has, and some of its prompts."""
    from mossa.tasks.listing import show_task

    typer.echo("\n".join(show_task(name, of)))


app.command()(commands.compare)


def _prepared(study: Path, overrides: list[str] | None, runs: Path) -> Prepared:
    from mossa.pipeline.run import prepare
    from mossa.study import load_study

    return prepare(load_study(study, overrides or ()), runs)


def _say_finished(console: Console, finished: Finished) -> None:
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


def _write_report(
    console: Console,
    prepared: Prepared,
    tables: dict[str, pd.DataFrame],
    form: Literal["html", "md"] = "html",
    again: bool = False,
) -> None:
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


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=True)


def _fail(message: str) -> int:
    typer.echo(message, err=True)
    return EXIT_PROBLEM


def main() -> None:
    """Run the command line; what a user can cause ends in one sentence and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log shows each line when it is written
    try:
        app()
    except MossaError as error:
        sys.exit(_fail(f"mossa: {error}"))


if __name__ == "__main__":
    main()
