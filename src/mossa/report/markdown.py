"""The report as Markdown, for a README or a pull request: answers, sections, figures, what is missing."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mossa.analysis import Findings
from mossa.report.figure_list import ReportFigure
from mossa.report.page.render import as_yaml
from mossa.report.questions import by_question
from mossa.report.select import tuned_on


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
