"""From the tables of a finished study to its report: figures, the tables behind them, and a page or a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mossa.analysis import Findings, analyse
from mossa.errors import DataError, choices
from mossa.report.gallery import gallery, write_gallery
from mossa.report.markdown import markdown
from mossa.report.page.data import page_data
from mossa.report.page.render import render

FORMATS = ("html", "md")


def write_report(
    tables: Mapping[str, pd.DataFrame],
    folder: Path,
    *,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    prompts: Mapping[str, list[str]] | None = None,
    estimator: str | None = None,
    findings: Findings | None = None,
    format: Literal["html", "md"] = "html",
) -> Path:
    """Write the report of a run's `tables` (docs/architecture.md) into `folder` and return its page.

    `folder` gets index.html or report.md, `figures/<name>.pdf`, `.svg`, `.png` and `tables/<name>.csv`. `study` holds
    the resolved settings, `provenance` versions, seeds and counts, `prompts` a few per task: all shown as they are.
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
    pictures, not_drawn = gallery(findings, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    write_gallery(pictures, folder)
    if format == "md":
        path = folder / "report.md"
        text = markdown(findings, chosen, pictures, not_drawn, study, provenance)
    else:
        path = folder / "index.html"
        data = page_data(findings, chosen)
        text = render(findings, data, pictures, not_drawn, tables, study, provenance, prompts or {})
    path.write_text(text, encoding="utf-8", newline="\n")
    return path
