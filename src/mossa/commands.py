"""The commands that need no run folder: compare two models, and plan a study before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mossa.errors import MossaError
from mossa.options import (
    EXIT_LOST,
    Cutoff,
    Device,
    DType,
    Overrides,
    Runs,
    StudyFile,
    System,
    Template,
    keyed,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

TooLong = Literal["skip", "refuse", "shorten-start", "shorten-middle"]


def compare(
    base: Annotated[str, typer.Option(help="hub id or folder of the base model")],
    experimental: Annotated[str, typer.Option(help="adapter or checkpoint: hub id or folder")],
    control: Annotated[str, typer.Option(help="adapter or checkpoint to compare with: hub id or folder")],
    prompts: Annotated[Path, typer.Option(help="file of prompts or of data, in any format that tasks may have")],
    template: Template = "auto",
    system: System = None,
    cutoff: Cutoff = None,
    too_long: Annotated[TooLong, typer.Option(help="what happens to a prompt that does not fit")] = "skip",
    dtype: DType = "float32",
    quantise: Annotated[Literal["4-bit", "8-bit"] | None, typer.Option(help="hold the weights in fewer bits")] = None,
    estimator: Annotated[
        list[str] | None, typer.Option(help="ids; default: cka-linear and cka-linear-debiased")
    ] = None,
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="also write all numbers to this .csv or .json")] = None,
) -> None:
    """Compare two models tuned from one base, layer by layer, without a study."""
    from rich.console import Console

    from mossa.api.compare import ESTIMATORS
    from mossa.api.compare import compare as compare_models

    _check_output(output)
    console = Console(soft_wrap=True)
    pair = compare_models(
        base,
        experimental,
        control,
        prompts,
        template=template,
        system=system,
        cutoff=cutoff,
        too_long=too_long,
        dtype=dtype,
        quantise=quantise,
        estimators=estimator or ESTIMATORS,
        device=device,
        say=lambda line: console.print(line, highlight=False, markup=False),
    )
    console.print(f"{pair.counted}.", highlight=False)
    for name in dict.fromkeys(pair.table["estimator"]):
        _print_layers(console, name, pair.table[pair.table["estimator"] == name])
    _write_output(console, pair.table, output)


def locate(
    base: Annotated[str, typer.Option(help="hub id or folder of the base model")],
    tuned: Annotated[str, typer.Option(help="adapter or checkpoint tuned from it: hub id or folder")],
    tasks: Annotated[
        Path, typer.Option(help="file of examples with `inputs` and `targets`, or a folder of such files")
    ],
    reading: Annotated[
        list[str] | None,
        typer.Option(help="one-layer-change, answer-gain, graft, or curves: a graft without its costly half"),
    ] = None,
    examples: Annotated[int, typer.Option(min=4, help="of each task, spread evenly over its file")] = 64,
    window: Annotated[int, typer.Option(min=1, help="also graft windows of this odd number of layers")] = 1,
    parts: Annotated[bool, typer.Option(help="also read attention and feed-forward separately")] = False,
    null: Annotated[bool, typer.Option(help="also read random updates of the same size")] = False,
    template: Template = "auto",
    system: System = None,
    cutoff: Cutoff = None,
    dtype: DType = "float32",
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="write all numbers to this .csv or .json")] = None,
) -> None:
    """Find out in which layers a tuned model's update acts, without a study."""
    from rich.console import Console

    from mossa.analysis.place import over_tasks
    from mossa.api.locate import locate_files, table_of

    _check_output(output)
    console = Console(soft_wrap=True)
    places = locate_files(
        base,
        tuned,
        tasks,
        readings=reading,
        parts=parts,
        window=window,
        null=null,
        examples=examples,
        template=template,
        system=system,
        cutoff=cutoff,
        dtype=dtype,
        device=device,
        say=lambda line: console.print(line, highlight=False, markup=False),
    )
    for name, place in places.items():
        console.print(f"{name}: {place.sentence}", highlight=False, markup=False)
    rows = table_of(places)
    medians = over_tasks(rows.assign(experimental=tuned, held_out=False)).pivot(
        index="layer", columns="reading", values="value"
    )
    columns = ("one-layer-change", "answer-gain-increment", "shapley")
    if "shapley" not in medians:
        columns += ("first-k", "last-k")
    shown = [name for name in columns if name in medians]
    console.print(f"Median over {len(places)} task{'s' if len(places) > 1 else ''}:", highlight=False)
    console.print(medians[shown].to_string(float_format="{:.3f}".format, na_rep="none"), highlight=False, markup=False)
    _write_output(console, rows, output)


def diff(
    base: Annotated[str, typer.Argument(help="the model before: folder, hub id, GGUF file, adapter or tinyflan:NAME")],
    tuned: Annotated[str, typer.Argument(help="the model after, any of these")],
    tasks: Annotated[str, typer.Option(help="file or folder of data in any format, hub:owner/name, or a collection")],
    also: Annotated[
        list[str] | None, typer.Option(help="a checkpoint on the way, in the order of training; repeat for more")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="of each task, spread evenly over it")] = 100,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=COLUMN", help="which column is what, e.g. prompt=question; as tasks.fields"),
    ] = None,
    template: Template = "auto",
    system: System = None,
    cutoff: Cutoff = None,
    dtype: DType = "float32",
    device: Device = "auto",
    output: Annotated[Path, typer.Option(help="folder for diff.json, answers.csv and the page")] = Path("diff"),
    fail_if_lost: Annotated[
        bool, typer.Option("--fail-if-lost", help=f"exit with code {EXIT_LOST} if TUNED lost a task")
    ] = False,
) -> None:
    """Find out what a fine-tune changed: tasks won and lost, and in which layers, without training anything."""
    from mossa.api.diff import diff
    from mossa.terminal import open_console, print_diff

    console = open_console()
    found = diff(
        base,
        tuned,
        tasks,
        also=also or (),
        fields=keyed(field, "--field"),
        examples=examples,
        template=template,
        system=system,
        cutoff=cutoff,
        dtype=dtype,
        device=device,
        say=lambda line: console.print(line, highlight=False, markup=False),
    )
    print_diff(console, found)
    page = found.write(output)
    console.print(f"Page: {page}. Numbers: {output / 'diff.json'}", highlight=False, markup=False)
    if fail_if_lost and found.named("lost"):
        raise typer.Exit(EXIT_LOST)


def plan(
    study: StudyFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    gpu: Annotated[str | None, typer.Option(help="a GPU by name, e.g. h100; default: what is found here")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="how many of them, or processes on the CPU; default: as a run here takes")
    ] = None,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="share of the GPU's published peak that is reached")
    ] = 0.35,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="do one training first and estimate the rest from it")
    ] = False,
) -> None:
    """Count what a study will cost before it runs: tokens, operations, time, memory, disk; loads no weights."""
    from mossa.api.study import Study

    typer.echo(Study.load(study, *overrides or (), runs=runs).plan(gpu, gpus, utilisation, calibrate))


def _check_output(output: Path | None) -> None:
    if output and output.suffix not in {".csv", ".json"}:
        raise MossaError(f"--output {output}: give a file that ends in .csv or .json.")
    if output and not output.parent.is_dir():
        raise MossaError(f"--output {output}: {output.parent} is not a folder; make it first.")


def _write_output(console: Console, rows: pd.DataFrame, output: Path | None) -> None:
    if output is None:
        return
    if output.suffix == ".csv":
        rows.to_csv(output, index=False)
    else:
        rows.to_json(output, orient="records", indent=1)
    console.print(f"Numbers: {output}", highlight=False, markup=False)


def _print_layers(console: Console, estimator: str, rows: pd.DataFrame) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{estimator}, similarity to the control with 95 % intervals"
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("layer", justify="right", min_width=len("layer"))
    columns = ("base", "experimental", "difference")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows.to_dict("records"):
        table.add_row(str(row["layer"]), *(_interval(row, name) for name in columns))
    console.print(table)
    dropped = rows["non_finite"].max()
    if dropped:
        console.print(f"Up to {dropped} prompts per layer are not finite in one of the models and left out.")
    for reason, count in rows["reason"].value_counts().items():
        console.print(f"{count} layers: {reason}", highlight=False, markup=False)


def _interval(row: Mapping[Any, Any], name: str) -> str:
    import pandas as pd

    if pd.isna(row[name]):
        return "undefined"
    sign = "+" if name == "difference" else ""
    if pd.isna(row[f"{name}_low"]):
        return f"{row[name]:{sign}.3f}"
    return f"{row[name]:{sign}.3f} [{row[f'{name}_low']:{sign}.3f}, {row[f'{name}_high']:{sign}.3f}]"
