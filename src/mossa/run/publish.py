"""Hands the tables of a run to the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from mossa.analysis import analyse
from mossa.analysis.controls import bar_of
from mossa.errors import RunFolderError
from mossa.report import write_report
from mossa.run.engines.runners import at_work
from mossa.run.run import Prepared
from mossa.store.provenance import provenance
from mossa.store.record import Record
from mossa.store.tables import gather, made_from, write_tables

MADE_FROM = "report/.made-from"  # beside the page: from which units


class Published(NamedTuple):
    """A report: the page to open, and its answers as (research question, sentence)."""

    page: Path
    answers: tuple[tuple[str, str], ...]


def publish(record: Record, tables: dict[str, pd.DataFrame], form: Literal["html", "md"] = "html") -> Published:
    """Write figures and report from `tables` into the run folder."""
    with record.run.writing():
        if form == "html":  # until the page is whole again, it counts as old
            (record.run.path / MADE_FROM).unlink(missing_ok=True)
        published = draw_report(record, tables, record.run.path / "report", form)
        if form == "html":
            (record.run.path / MADE_FROM).write_text(_mark(record))
    return published


def write_again(
    prepared: Prepared, form: Literal["html", "md"], say: Callable[[str], None], how_to_run: str
) -> Published:
    """Write tables and report of what is done into the run folder again.

    Raises `RunFolderError` if nothing was run or somebody is at work there, `DataError` if nothing was compared.
    """
    record = prepared.record
    if not record.run.units.is_dir():
        raise RunFolderError(f"{record.run.path} has no results yet. Run the study first: {how_to_run}")
    with at_work(record.run, prepared.plan, True, say):
        tables = gather(record.run, record.units, record.fingerprints)
        write_tables(tables, record.run.path / "results", record.run)
        return publish(record, tables, form)


def draw_report(
    record: Record, tables: dict[str, pd.DataFrame], folder: Path, form: Literal["html", "md"] = "html"
) -> Published:
    """Write figures and report from `tables` into any folder."""
    findings = analyse(tables, bar=bar_of(record.study))
    study = record.study.model_dump(mode="json")
    made, prompts = _how_made(record), record.prompts
    page = write_report(tables, folder, study=study, provenance=made, prompts=prompts, findings=findings, format=form)
    return Published(page, findings.answers)


def is_current(record: Record) -> bool:
    """Tell whether the report in the run folder was finished, from the units as they are now."""
    mark, page = record.run.path / MADE_FROM, record.run.path / "report" / "index.html"
    return page.is_file() and mark.is_file() and mark.read_text() == _mark(record)


def _mark(record: Record) -> str:
    return made_from(record.run, record.units, record.fingerprints)


def _how_made(record: Record) -> dict[str, Any]:
    manifests = {name: record.run.manifest(name) for name in record.units}
    seconds = sum(manifest.get("seconds", 0) for manifest in manifests.values() if manifest)
    return {
        **provenance(),
        "units": len(record.units),
        "not_done": {name: status.why for name, status in record.status().items() if status.state != "done"},
        "unit_seconds": round(seconds, 1),
        "seeds": {"split": record.study.tasks.seed, "controls": record.study.control.seeds},
    }
