"""From the tables of a finished study to its report: figures, the tables behind them, and a page or a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mossa.analysis import Findings, analyse
from mossa.errors import DataError, choices
from mossa.report.against import Against, compared
from mossa.report.figure_list import available_figures, embedded, write_figures
from mossa.report.markdown import markdown
from mossa.report.page.render import PageSource, render

FORMATS = ("html", "md")


def write_report(
    tables: Mapping[str, pd.DataFrame],
    folder: Path,
    *,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    prompts: Mapping[str, Sequence[str | Sequence[str]]] | None = None,
    estimator: str | None = None,
    findings: Findings | None = None,
    taught: Iterable[str] = (),
    against: Against | None = None,
    format: Literal["html", "md"] = "html",
    for_paper: bool = False,
) -> Path:
    """Write the report of a run's `tables` (docs/architecture.md) into `folder` and return its page.

    `folder` gets index.html or report.md, `figures/<name>.svg` and `.png` (`for_paper`: also `.pdf`, and all for one
    column) and `tables/<name>.csv`. `study` holds
    the resolved settings, `provenance` versions, seeds and counts (paths are cut to their last part), `prompts` a few
    per task, alone or with their target. `taught` are tasks that the base is known to have been taught, and
    `against` is another run to compare with.
    `estimator` defaults to the one the analysis prefers; `findings` are what an analysis of these tables has given, and
    are taken as they are, `estimator` too. The same input gives the same bytes. Raises DataError for a table
    that breaks its contract, for an unknown estimator or format, and if no similarity was measured at all.
    """
    if format not in FORMATS:
        raise DataError(f"A report cannot be written as {format!r}. {choices(format, FORMATS)}")
    findings = findings or analyse(tables, estimator=estimator)
    if findings.curves.empty:
        raise DataError("The run has no similarities, so there is nothing to report. Run the study first.")
    chosen = findings.estimator or str(findings.curves["estimator"].iloc[0])
    known = frozenset(taught)
    figures, not_drawn = available_figures(findings, chosen, known)
    if against:
        compared(findings, against.findings)  # refused before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    write_figures(figures, folder, for_paper=for_paper)
    if format == "md":
        path = folder / "report.md"
        text = markdown(findings, chosen, figures, not_drawn, study, provenance)
    else:
        path = folder / "index.html"
        source = PageSource(findings, chosen, tables, study, provenance, prompts or {}, known, against)
        text = render(source, figures, not_drawn, embedded(figures, folder))
    path.write_text(text, encoding="utf-8", newline="\n")
    return path
