"""Which figures a study's findings give, each with the table behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from mossa.analysis import Findings
from mossa.report import figures
from mossa.report.figures.canvas import root
from mossa.report.select import reading, seen, unseen

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Picture(NamedTuple):
    """A figure: the name of its files, what it shows, the table behind it and the function that draws it."""

    name: str
    title: str
    table: pd.DataFrame
    draw: Callable[[pd.DataFrame], Axes | list[Axes]]


def gallery(findings: Findings, estimator: str) -> tuple[list[Picture], list[str]]:
    """Return the figures these findings allow, and a sentence for each that is missing, with the reason."""
    rows = reading(findings.curves, estimator)
    dose = findings.dose[findings.dose["estimator"].eq(estimator)]
    linear = findings.correlates[
        findings.correlates["estimator"].eq(estimator) & findings.correlates["method"].eq("pearson")
    ]
    held = findings.encoded[findings.encoded["estimator"].eq(estimator)]
    silent = "the run holds no representations to measure it on"
    nothing = "no similarity to a control was measured"
    plan: list[tuple[str, str, pd.DataFrame, Callable[..., Any], str]] = [
        ("layers", "Similarity to the controls per layer, over tasks", seen(rows), figures.layers, nothing),
        ("clusters", "The same for each task cluster", seen(rows), figures.clusters, nothing),
        ("unseen", "The same on held-out tasks", unseen(rows), figures.unseen, "no task was held out of a tuned model"),
        ("heatmap", "Similarity of every task at every layer", rows, figures.heatmap, nothing),
        *_sections(findings, estimator),
        ("encoded", "What the base already held", held, figures.encoded, "the base was not compared with the controls"),
        (
            "projection",
            "Map of the prompts of all tasks",
            findings.projection,
            figures.projection,
            silent,
        ),
        (
            "separability",
            "What a classifier reads off the representations",
            findings.separability,
            figures.separability,
            silent,
        ),
        ("affinity", "Which tasks share representations", findings.affinity, figures.affinity, silent),
        ("layer-map", "Layer against layer", findings.layer_map, figures.layer_map, silent),
        (
            "dimensionality",
            "Dimensions that explain 99 % of the variance",
            findings.dimensionality,
            figures.dimensionality,
            "the run holds no spectra",
        ),
        ("correlates", "What goes along with similarity", linear, figures.correlates, "nothing to correlate with"),
        ("dose", "Similarity of the base to the controls and their dose", dose, figures.dose, "no dose was recorded"),
        ("controls", "Test loss of controls and base", findings.controls, figures.controls, "there are no controls"),
    ]
    pictures = [Picture(name, title, table, draw) for name, title, table, draw, _ in plan if not table.empty]
    missing = [f"{title}: not drawn, because {why}." for _, title, table, _, why in plan if table.empty]
    return pictures, missing


def _sections(findings: Findings, estimator: str) -> list[tuple[str, str, pd.DataFrame, Callable[..., Any], str]]:
    """One picture per tuned model: its difference from the base on the tasks it was tuned on, and its sections."""
    change = findings.change[findings.change["estimator"].eq(estimator)]
    found = findings.sections[findings.sections["estimator"].eq(estimator)]
    plan: list[tuple[str, str, pd.DataFrame, Callable[..., Any], str]] = []
    for model in dict.fromkeys(change["experimental"]):
        mine, ends = change[change["experimental"].eq(model)], found[found["experimental"].eq(model)]
        population = tuned_on(mine)
        draw = partial(figures.sections, found=ends[ends["population"].eq(population)])
        plan.append(
            (f"sections-{file_name(model)}", f"Sections of {model}", mine[mine["population"].eq(population)], draw, "")
        )
    return plan or [("sections", "Sections", change, figures.sections, "no tuned model can be compared with the base")]


def file_name(model: object) -> str:
    """Return a model's name with everything that could break a file's name replaced."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", str(model))


def tuned_on(table: pd.DataFrame) -> str:
    """Return the population of tasks a model was tuned on: `seen` where some were held out, else `all`."""
    return "seen" if table["population"].eq("seen").any() else "all"


def write_gallery(pictures: list[Picture], folder: Path) -> None:
    """Write `figures/<name>.pdf`, `.svg` and `.png` and `tables/<name>.csv` under `folder`."""
    for part in ("figures", "tables"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        drawn = picture.draw(picture.table)
        axes = drawn[0] if isinstance(drawn, list) else drawn
        figures.save(root(axes), folder / "figures" / picture.name)
        picture.table.to_csv(folder / "tables" / f"{picture.name}.csv", index=False, lineterminator="\n")
