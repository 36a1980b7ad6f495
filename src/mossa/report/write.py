"""From the tables of a finished study to its report: figures, the tables behind them, and a page or a text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mossa.analysis import Findings, analyse
from mossa.analysis.answers import by_question
from mossa.errors import DataError, choices
from mossa.report.against import Against, compared
from mossa.report.figure_list import ReportFigure, available_figures, embedded, write_figures
from mossa.report.page.render import PageSource, as_yaml, render
from mossa.report.select import tuned_on

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
    """Write the report of a run's `tables` (docs/project/architecture.md) into `folder` and return its page.

    `folder` gets index.html or report.md, `figures/<name>.svg` and `.png` (`for_paper`: also `.pdf`, and all for one
    column) and `tables/<name>.csv`. `study` holds the resolved settings, `provenance` versions, seeds and counts (paths
    are cut to their last part), `prompts` a few per task, alone or with their target. `taught` are tasks that the base
    is known to have been taught, and `against` is another run to compare with. `estimator` defaults to the one the
    analysis prefers; `findings` are the result of an earlier analysis of these tables and are used unchanged, with
    their `estimator`. The same input gives the same bytes. Raises DataError for a table that breaks its contract, for
    an unknown estimator or format, and if no similarity was measured at all.
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
        compared(findings, against.findings)  # raises before anything is written
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


def markdown(
    findings: Findings,
    estimator: str,
    figures: list[ReportFigure],
    not_drawn: list[str],
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """Return the report; figures are linked as `figures/<name>.png`, text from outside is escaped."""
    lines = [f"# {safe(study.get('name', 'study'))}: layer by layer", "", f"Similarity: `{safe(estimator)}`.", ""]
    for question, sentences in by_question(findings.answers):
        lines += [f"## {question}", "", *(f"- {safe(sentence)}" for sentence in sentences), ""]
    lines += _sections(findings.sections[findings.sections["estimator"].eq(estimator)])
    for figure in figures:
        lines += [f"## {safe(figure.title)}", "", f"![{safe(figure.title)}](figures/{figure.name}.png)", ""]
    missing = [*findings.missing, *not_drawn]
    if missing:
        lines += ["## What this study cannot say, and why", "", *(f"- {safe(sentence)}" for sentence in missing), ""]
    lines += ["## How it was made", "", *_block(as_yaml(provenance)), "", *_block(as_yaml(study))]
    return "\n".join(lines) + "\n"


def safe(text: Any) -> str:
    """Return text that shows as itself: no HTML, no table cell or line broken, no Markdown link or emphasis."""
    escaped = html.escape(str(text), quote=False).replace("\n", " ")
    for mark in "\\`*_[]|#":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped


def _block(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _sections(found: pd.DataFrame) -> list[str]:
    """Return a table of the sections of every tuned model on the tasks it was tuned on, or nothing."""
    if found.empty:
        return []
    rows = ["| model | shared ends | transition ends | remark |", "| --- | --- | --- | --- |"]
    for model, part in found.groupby("experimental", sort=False):
        row = part[part["population"].eq(tuned_on(part))].iloc[0]
        ends = [_boundary(row, name) for name in ("shared_end", "transition_end")]
        remark = "" if pd.isna(row["reason"]) else safe(row["reason"])
        rows.append(f"| {safe(model)} | {ends[0]} | {ends[1]} | {remark} |")
    return [*rows, ""]


def _boundary(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return "not identifiable"
    return f"layer {int(row[name])} ({int(row[f'{name}_low'])} to {int(row[f'{name}_high'])})"
