"""Which figures a study's findings give, each with the table behind it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pandas as pd

from mossa.analysis import Findings
from mossa.errors import DataError, choices
from mossa.report import figures
from mossa.report.colours import cluster_marks, model_colours
from mossa.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, drawn_at, root
from mossa.report.select import common, correlations, reading, unseen

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ReportFigure(NamedTuple):
    """A figure: the name of its files, what it shows, the table behind it, the function that draws it.

    `otherwise` says why it cannot be drawn if its table is empty. `section` names the part of the page that shows the
    figure as an image (one of `SECTIONS`). It is empty for the figures that come with mossa: the page has an
    interactive chart for each of them.
    """

    name: str
    title: str
    table: pd.DataFrame
    draw: Callable[[pd.DataFrame], Axes | list[Axes]]
    otherwise: str
    section: str = ""


SECTIONS = ("performance", "layers", "place", "encoded", "more")


def available_figures(
    findings: Findings, estimator: str, taught: frozenset[str] = frozenset()
) -> tuple[list[ReportFigure], list[str]]:
    """Return the figures these findings allow, and a sentence for each that is missing, with the reason."""
    every = all_figures(findings, estimator, taught)
    available = [each for each in every if not each.table.empty]
    missing = [f"{each.title}: not drawn, because {each.otherwise}." for each in every if each.table.empty]
    return available, missing


def all_figures(findings: Findings, estimator: str, taught: frozenset[str] = frozenset()) -> list[ReportFigure]:
    """Return every figure, also those whose table is empty in these findings."""
    return [figure for make in FIGURES for figure in make(findings, estimator, taught)]


def _similarity(findings: Findings, estimator: str, _taught: frozenset[str]) -> list[ReportFigure]:
    """Return the figures of similarity, and of what tuning changed."""
    rows = reading(findings.curves, estimator)
    same = findings.common_change[findings.common_change["estimator"].eq(estimator)]
    tested = findings.performance.dropna(subset=["gain"])
    colours = model_colours(findings.curves["experimental"])
    change, performance, layers, clusters, on_unseen = (
        partial(draw, colours=colours)
        for draw in (figures.change, figures.performance, figures.layers, figures.clusters, figures.unseen)
    )
    nothing = "no similarity to a control was measured"
    return [
        ReportFigure("change", "What tuning changed, layer by layer", same, change,
                     "no tuned model can be compared with the base"),
        ReportFigure("performance", "Exact match of base, tuned model and specialist", tested, performance,
                     "no test was scored"),
        ReportFigure("layers", "Similarity to the specialists per layer, over tasks", common(rows), layers, nothing),
        ReportFigure("clusters", "The same for each task cluster", common(rows), clusters, nothing),
        ReportFigure("unseen", "The same on held-out tasks", unseen(rows), on_unseen,
                     "no task was held out of a tuned model"),
        ReportFigure("heatmap", "Similarity of every task at every layer", rows, figures.heatmap, nothing),
    ]  # fmt: skip


def _beside(findings: Findings, estimator: str, taught: frozenset[str]) -> list[ReportFigure]:
    """Return the figures that do not show similarity over layers: the base, the map of prompts, correlates."""
    marks, colours = cluster_marks(findings.curves["cluster"]), model_colours(findings.curves["experimental"])
    encoded = findings.encoded[findings.encoded["estimator"].eq(estimator)]
    linear = correlations(findings, estimator)
    linear = linear[linear["method"].eq("pearson")]
    return [
        ReportFigure("encoded", "What the base already had", encoded, partial(figures.encoded, taught=taught),
                     "the base was not compared with the controls"),
        ReportFigure("projection", "Map of the prompts of all tasks", findings.projection,
                     partial(figures.projection, marks=marks), "the run holds no representations to measure it on"),
        ReportFigure("dimensionality", "Dimensions that explain 99 % of the variance", findings.dimensionality,
                     partial(figures.dimensionality, colours=colours), "the run holds no spectra"),
        ReportFigure("correlates", "What goes along with similarity", linear, figures.correlates,
                     "no correlation is defined: there are too few tasks, or nothing to correlate with"),
    ]  # fmt: skip


def _place(findings: Findings, _estimator: str, _taught: frozenset[str]) -> list[ReportFigure]:
    """Return one figure per tuned model: where it acts on the tasks it was tuned on, or on all if there are none."""
    found: list[ReportFigure] = []
    for model, rows in findings.place.groupby("experimental", sort=False):
        table = rows[rows["held_out"].astype(bool).eq(bool(rows["held_out"].all()))]
        found.append(ReportFigure(f"place-{file_name(model)}", f"Where {model} acts", table, figures.place, ""))
    why = "the study does not read it; set place: true"
    return found or [ReportFigure("place", "Where the tuned models act", findings.place, figures.place, why)]


FIGURES: list[Callable[[Findings, str, frozenset[str]], list[ReportFigure]]] = [_similarity, _beside, _place]
"""Each entry returns figures from the findings, the estimator to read and the tasks that the base was taught."""


def embedded(available: list[ReportFigure], folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return, per section of the page, (title, data URL) of the figures that the section shows as images.

    Raises `DataError` for a section that the page does not have.
    """
    found: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
    for figure in available:
        if figure.section:
            if figure.section not in found:
                raise DataError(
                    f"figure {figure.name}: no section {figure.section!r}. {choices(figure.section, SECTIONS)}"
                )
            image = b64encode((folder / "figures" / f"{figure.name}.svg").read_bytes()).decode()
            found[figure.section].append((figure.title, f"data:image/svg+xml;base64,{image}"))
    return found


def file_name(model: object) -> str:
    """Return a model's name with every character replaced that a file name might not allow."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", str(model))


WIDE_ONLY = ("heatmap", "projection", "correlates", "clusters")
"""Figures with too many labels for one column."""


def write_figures(available: list[ReportFigure], folder: Path, *, for_paper: bool = False) -> None:
    """Write `figures/<name>.svg` and `.png` and `tables/<name>.csv`, and both folders as zip.

    `for_paper`: also every figure as `.pdf`, and as wide as one column. Files of an earlier report are removed.
    """
    for part, kinds in (("figures", figures.FORMATS), ("tables", ("csv",))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for old in (path for kind in kinds for path in (folder / part).glob(f"*.{kind}")):
            old.unlink()
    for figure in available:
        _write(figure, folder / "figures", figure.name, TEXT_WIDTH, for_paper)
        if for_paper and figure.name not in WIDE_ONLY:
            _write(figure, folder / "figures", f"{figure.name}-column", COLUMN_WIDTH, for_paper)
        figure.table.to_csv(folder / "tables" / f"{figure.name}.csv", index=False, lineterminator="\n")
    for part in ("figures", "tables"):
        _zip(folder / part)


def _write(figure: ReportFigure, folder: Path, name: str, width: float, for_paper: bool) -> None:
    with drawn_at(width):
        drawn = figure.draw(figure.table)
    axes = drawn[0] if isinstance(drawn, list) else drawn
    figures.save(root(axes), folder / name, figures.FORMATS if for_paper else ("svg", "png"))


def _zip(folder: Path) -> None:
    """Pack the files of a folder into `<folder>.zip`; `ZipInfo` has no time, so the same files give the same bytes."""
    with ZipFile(folder.with_suffix(".zip"), "w", ZIP_DEFLATED) as packed:
        for path in sorted(folder.iterdir()):
            packed.writestr(ZipInfo(f"{folder.name}/{path.name}"), path.read_bytes(), ZIP_DEFLATED)
