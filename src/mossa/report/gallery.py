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
from mossa.report.figures.canvas import COLUMN_WIDTH, TEXT_WIDTH, drawn_at, root
from mossa.report.select import common, reading, unseen

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Picture(NamedTuple):
    """A figure: the name of its files, what it shows, the table behind it, the function that draws it.

    `otherwise` is the reason why it cannot be drawn if its table is empty. `section` is the part of the page that shows
    the picture itself (`SECTIONS`); the page draws its own charts of what mossa ships, so theirs is empty.
    """

    name: str
    title: str
    table: pd.DataFrame
    draw: Callable[[pd.DataFrame], Axes | list[Axes]]
    otherwise: str
    section: str = ""


SECTIONS = ("performance", "layers", "place", "encoded", "more")


def gallery(
    findings: Findings, estimator: str, taught: frozenset[str] = frozenset()
) -> tuple[list[Picture], list[str]]:
    """Return the figures these findings allow, and a sentence for each that is missing, with the reason."""
    plan = planned(findings, estimator, taught)
    pictures = [each for each in plan if not each.table.empty]
    missing = [f"{each.title}: not drawn, because {each.otherwise}." for each in plan if each.table.empty]
    return pictures, missing


def planned(findings: Findings, estimator: str, taught: frozenset[str] = frozenset()) -> list[Picture]:
    """Return every figure there can be, those included whose table is empty in these findings."""
    return [picture for pictures in FIGURES for picture in pictures(findings, estimator, taught)]


def _similarity(findings: Findings, estimator: str, _taught: frozenset[str]) -> list[Picture]:
    rows = reading(findings.curves, estimator)
    colours = model_colours(findings.curves["experimental"])
    layers, clusters, held = (partial(f, colours=colours) for f in (figures.layers, figures.clusters, figures.unseen))
    moved, helped = partial(figures.change, colours=colours), partial(figures.performance, colours=colours)
    same = findings.common_change[findings.common_change["estimator"].eq(estimator)]
    nothing, alone = "no similarity to a control was measured", "no tuned model can be compared with the base"
    tests = findings.performance.dropna(subset=["gain"])
    return [
        Picture("change", "What tuning changed, layer by layer", same, moved, alone),
        Picture("performance", "Exact match of base, tuned model and specialist", tests, helped, "no test was scored"),
        Picture("layers", "Similarity to the specialists per layer, over tasks", common(rows), layers, nothing),
        Picture("clusters", "The same for each task cluster", common(rows), clusters, nothing),
        Picture("unseen", "The same on held-out tasks", unseen(rows), held, "no task was held out of a tuned model"),
        Picture("heatmap", "Similarity of every task at every layer", rows, figures.heatmap, nothing),
    ]


def _beside(findings: Findings, estimator: str, taught: frozenset[str]) -> list[Picture]:
    """The pictures that stand beside similarity: the base, the space, correlates."""
    marks, colours = cluster_marks(findings.curves["cluster"]), model_colours(findings.curves["experimental"])
    encoded = findings.encoded[findings.encoded["estimator"].eq(estimator)]
    linear = correlations(findings, estimator)
    linear = linear[linear["method"].eq("pearson")]
    dimensions = partial(figures.dimensionality, colours=colours)
    ranked, projected = partial(figures.encoded, taught=taught), partial(figures.projection, marks=marks)
    silent = "the run holds no representations to measure it on"
    few = "no correlation is defined: there are too few tasks, or nothing to correlate with"
    return [
        Picture("encoded", "What the base already had", encoded, ranked, "there is no base beside the controls"),
        Picture("projection", "Map of the prompts of all tasks", findings.projection, projected, silent),
        Picture("dimensionality", "Dimensions that explain 99 % of the variance", findings.dimensionality, dimensions,
             "the run holds no spectra"),
        Picture("correlates", "What goes along with similarity", linear, figures.correlates, few),
    ]  # fmt: skip


def _place(findings: Findings, _estimator: str, _taught: frozenset[str]) -> list[Picture]:
    """One picture per tuned model: where it acts, mean over the tasks that it was tuned on, else over the others."""
    plan: list[Picture] = []
    for model, rows in findings.place.groupby("experimental", sort=False):
        table = rows[rows["held_out"].astype(bool).eq(bool(rows["held_out"].all()))]
        plan.append(Picture(f"place-{file_name(model)}", f"Where {model} acts", table, figures.place, ""))
    why = "the study does not read it; set place: true"
    return plan or [Picture("place", "Where the tuned models act", findings.place, figures.place, why)]


FIGURES: list[Callable[[Findings, str, frozenset[str]], list[Picture]]] = [_similarity, _beside, _place]
"""All figures: functions of the findings, the estimator that is read and the tasks that the base was taught."""


def embedded(pictures: list[Picture], folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return, per section of the page, the title and the data address of the written pictures that stand in it.

    Raises `DataError` for a section that the page does not have.
    """
    found: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
    for picture in pictures:
        if picture.section:
            if picture.section not in found:
                raise DataError(
                    f"figure {picture.name}: no section {picture.section!r}. {choices(picture.section, SECTIONS)}"
                )
            image = b64encode((folder / "figures" / f"{picture.name}.svg").read_bytes()).decode()
            found[picture.section].append((picture.title, f"data:image/svg+xml;base64,{image}"))
    return found


def correlations(findings: Findings, estimator: str) -> pd.DataFrame:
    """Return the correlates of one estimator, or no rows if not one correlation is defined."""
    table = findings.correlates[findings.correlates["estimator"].eq(estimator)]
    return table if table["correlation"].notna().any() else table.iloc[:0]


def file_name(model: object) -> str:
    """Return a model's name with everything that could break a file's name replaced."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", str(model))


WIDE_ONLY = ("heatmap", "projection", "correlates", "clusters")
"""Figures with too many labels for one column."""


def write_gallery(pictures: list[Picture], folder: Path, *, for_paper: bool = False) -> None:
    """Write `figures/<name>.svg` and `.png` and `tables/<name>.csv`, and both folders as zip.

    `for_paper`: also every figure as `.pdf`, and as wide as one column. Files of an earlier report are removed.
    """
    for part, kinds in (("figures", figures.FORMATS), ("tables", ("csv",))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for old in (path for kind in kinds for path in (folder / part).glob(f"*.{kind}")):
            old.unlink()
    for picture in pictures:
        _write_picture(picture, folder / "figures", picture.name, TEXT_WIDTH, for_paper)
        if for_paper and picture.name not in WIDE_ONLY:
            _write_picture(picture, folder / "figures", f"{picture.name}-column", COLUMN_WIDTH, for_paper)
        picture.table.to_csv(folder / "tables" / f"{picture.name}.csv", index=False, lineterminator="\n")
    for part in ("figures", "tables"):
        _zip(folder / part)


def _write_picture(picture: Picture, folder: Path, name: str, width: float, for_paper: bool) -> None:
    with drawn_at(width):
        drawn = picture.draw(picture.table)
    axes = drawn[0] if isinstance(drawn, list) else drawn
    figures.save(root(axes), folder / name, figures.FORMATS if for_paper else ("svg", "png"))


def _zip(folder: Path) -> None:
    """Pack the files of a folder beside it, so that the same files give the same bytes."""
    with ZipFile(folder.with_suffix(".zip"), "w", ZIP_DEFLATED) as packed:
        for path in sorted(folder.iterdir()):
            packed.writestr(ZipInfo(f"{folder.name}/{path.name}"), path.read_bytes(), ZIP_DEFLATED)
