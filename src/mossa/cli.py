"""The command line: parse, call, print."""

from __future__ import annotations

import gc
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mossa import commands
from mossa.errors import MossaError, StudyError
from mossa.options import EXIT_PARTIAL, EXIT_PROBLEM, Overrides, Rehearsal, Runs, StudyFile, run_command

if TYPE_CHECKING:
    from mossa.run.run import Finished

PREPARE, RUN, READ, COMPARE = "1. Prepare a study", "2. Run it", "3. Read it", "Without a study"
app = typer.Typer(
    help="Find out, layer by layer, where in a language model a task lives.",
    epilog="Example: mossa run demo (some minutes on two cores), then open runs/demo/report/index.html",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

tasks = typer.Typer(help="Look at collections of tasks.", no_args_is_help=True)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"mossa {version('mossa')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and stop")
    ] = False,
) -> None:
    """Find out, layer by layer, where in a language model a task lives."""


@app.command(rich_help_panel=PREPARE)
def init(
    study: StudyFile,
    base: Annotated[str, typer.Option(help="hub id or folder of the base model")],
    tasks: Annotated[str, typer.Option(help="folder or file of data, hub:owner/name, or the name of a collection")],
    gpu: Annotated[
        str | None, typer.Option(help="set number format, bits and cutoff for this GPU: rtx4090, h100, …, or found")
    ] = None,
) -> None:
    """Look at the data and write a commented study file to start from."""
    from mossa.api.tasks import start_study

    for line in start_study(study, base, tasks, gpu):
        typer.echo(line)
    typer.echo(
        f"Wrote {study}. Next: mossa validate {study}"
        + (f", mossa plan {study} --gpu {gpu}" if gpu and gpu != "found" else "")
    )


@app.command(rich_help_panel=PREPARE)
def validate(study: StudyFile, overrides: Overrides = None, rehearsal: Rehearsal = True) -> None:
    """Check a study file and everything it names; list every problem with its line."""
    from mossa.api.study import validate

    checked = validate(study, *overrides or (), rehearsal=rehearsal)
    typer.echo(checked)
    if count := len(checked.problems):
        raise typer.Exit(_fail(f"{study}: {count} problem{'s' if count > 1 else ''}."))
    typer.echo(f"{study} is ready. Next: {run_command(study, overrides)}")


app.add_typer(tasks, name="tasks", rich_help_panel=PREPARE)
app.command(rich_help_panel=PREPARE)(commands.plan)


@app.command(rich_help_panel=RUN)
def run(
    study: StudyFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:0, or several for one base: cuda:0+cuda:1=20GB+cpu+disk")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="processes; default: one per core for a small base, one per GPU, else one")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="be the K-th of N runs that share the work, e.g. of a job array")
    ] = None,
    engine: Annotated[str, typer.Option(help="local: this machine; ray: a Ray cluster")] = "local",
    address: Annotated[str | None, typer.Option(help="of the Ray cluster; default: the one found here")] = None,
    data_parallel: Annotated[
        int, typer.Option(metavar="W", help="workers that share each training of a mixture, a part of every batch each")
    ] = 1,
    report: Annotated[bool, typer.Option(help="write figures and the report at the end")] = True,
    rehearsal: Rehearsal = True,
) -> None:
    """Train, extract, compare and report; do only what is missing or changed."""
    from mossa.run.options import RunOptions
    from mossa.run.progress import run_shown
    from mossa.run.run import prepare_to_run
    from mossa.study import load_study
    from mossa.terminal import open_console, stoppable, write_report

    options = RunOptions(device, workers, _shard(shard), engine, address, rehearsal, data_parallel)
    console = open_console()
    prepared = prepare_to_run(load_study(study, overrides or ()), runs, options)

    def conclude(finished: Finished) -> None:
        if report:
            write_report(console, finished)

    with stoppable():
        finished = run_shown(console, prepared, options, conclude)
    if finished.failed:
        raise typer.Exit(EXIT_PARTIAL)


@app.command(rich_help_panel=RUN)
def status(study: StudyFile, overrides: Overrides = None, runs: Runs = Path("runs")) -> None:
    """Show which units are done, missing, failed, stale or damaged, and why."""
    from mossa.api.study import Study

    status = Study.load(study, *overrides or (), runs=runs).status()
    typer.echo(status)
    page = status.folder / "report" / "index.html"
    typer.echo(f"Report: {page}" if page.is_file() else "There is no report yet.")
    if status.todo:
        typer.echo(f"Next: {run_command(study, overrides, runs)}")


@app.command(rich_help_panel=READ)
def report(
    study: StudyFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    format: Annotated[Literal["html", "md"], typer.Option(help="a page, or a text for a README")] = "html",
    against: Annotated[Path | None, typer.Option(help="folder of another run to compare with, such as runs/b")] = None,
    for_paper: Annotated[
        bool, typer.Option("--for-paper", help="also draw every figure as PDF, and as wide as one column")
    ] = False,
) -> None:
    """Write figures, tables and the report again from what is there, also compared with another run."""
    from mossa.run.publish import write_again
    from mossa.run.run import prepare
    from mossa.study import load_study
    from mossa.terminal import open_console, say_headline

    console = open_console()
    prepared, how_to_run = prepare(load_study(study, overrides or ()), runs), run_command(study, overrides, runs)
    if against and format == "md":
        raise StudyError("--against draws on the page: leave out --format md.")
    written = write_again(
        prepared, format, lambda line: console.print(line, highlight=False), how_to_run, against, for_paper
    )
    say_headline(console, written)


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
        str | None,
        typer.Argument(help="a collection, a study file, a folder, a file or hub:owner/name; default: all collections"),
    ] = None,
) -> None:
    """List collections, or the clusters and tasks of one, of a study or of a folder."""
    from mossa.api.tasks import list_tasks

    typer.echo(list_tasks(source))


@tasks.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="a task", show_default=False)],
    of: Annotated[str | None, typer.Option(help="a collection, a study file, a folder or a file")] = None,
    base: Annotated[
        str | None, typer.Option(help="also show an example as this base sees it; default: the study's base")
    ] = None,
) -> None:
    """Show where a task comes from, how many examples it has, some of its prompts, and one as the model sees it."""
    from mossa.api.tasks import show_task

    typer.echo(show_task(name, of, base))


app.command(rich_help_panel=COMPARE)(commands.diff)
app.command(rich_help_panel=COMPARE)(commands.compare)
app.command(rich_help_panel=COMPARE)(commands.locate)


def _fail(message: str) -> int:
    typer.echo(message, err=True)
    return EXIT_PROBLEM


def main(commands: typer.Typer = app) -> None:
    """Run the command line; what a user can cause ends in one sentence and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log shows each line when it is written
    try:
        commands()
    except MossaError as error:
        sys.exit(_fail(f"mossa: {error}"))
    finally:
        gc.freeze()  # the process ends here: looking for garbage among all of torch once more takes a second


if __name__ == "__main__":
    main()
