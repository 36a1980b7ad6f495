"""Hands the tables of a run to the report."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mossa.errors import DataError, ModelError, RunFolderError
from mossa.run.engines.runners import at_work
from mossa.run.run import Prepared
from mossa.store.folder import MANIFEST
from mossa.store.provenance import provenance
from mossa.store.record import Record, read_record
from mossa.store.tables import gather, made_from, write_tables
from mossa.study.schema import StudySettings
from mossa.tinyflan import taught_tasks

if TYPE_CHECKING:
    import pandas as pd

    from mossa.analysis.headline import Headline
    from mossa.report.against import Against

MADE_FROM = "report/.made-from"  # beside the page: from which units


class Published(NamedTuple):
    """A report: the page to open, and its headline."""

    page: Path
    headline: Headline


def publish(
    record: Record,
    tables: dict[str, pd.DataFrame],
    form: Literal["html", "md"] = "html",
    against: Path | None = None,
    for_paper: bool = False,
) -> Published:
    """Write figures and report from `tables` into the run folder, beside the run in the folder `against` if given."""
    with record.run.writing():
        if form == "html":  # until the page is whole again, it counts as old
            (record.run.path / MADE_FROM).unlink(missing_ok=True)
        published = draw_report(record, tables, record.run.path / "report", form, against, for_paper)
        if form == "html" and not against:
            (record.run.path / MADE_FROM).write_text(_mark(record))
    return published


def write_again(
    prepared: Prepared,
    form: Literal["html", "md"],
    say: Callable[[str], None],
    how_to_run: str,
    against: Path | None = None,
    for_paper: bool = False,
) -> Published:
    """Write tables and report of what is done into the run folder again; `say` gets a line on how much is not.

    Raises `RunFolderError` if nothing was run or another process works there, `DataError` if nothing was compared;
    where that is so because the study has changed since, the tables of the run stay.
    """
    record = prepared.record
    if not record.run.units.is_dir():
        raise RunFolderError(f"{record.run.path} has no results yet. Run the study first: {how_to_run}")
    with at_work(record.run, say):
        tables = gather(record.run, record.units, record.fingerprints)
        if left_out := _left_out(prepared):
            if "similarity" not in tables and any(name.startswith("compare/") for name in left_out):
                raise DataError(
                    f"Nothing that was compared is as the study says now: {len(left_out)} of {len(record.units)} units "
                    f"are not done or not as they would be made now (for example {left_out[0]}: "
                    f"{prepared.status[left_out[0]].why}). Run the study: {how_to_run}"
                )
            say(
                f"{len(left_out)} of {len(record.units)} units are not done or not as they would be made now; what "
                f"they hold is in no table and not in the report. Next: {how_to_run}"
            )
        write_tables(tables, record.run.path / "results", record.run)
        return publish(record, tables, form, against, for_paper)


def _left_out(prepared: Prepared) -> list[str]:
    """Return the ids of the units that give nothing to the report, those that were compared first."""
    names = [name for name, status in prepared.status.items() if status.state != "done"]
    return sorted(names, key=lambda name: not name.startswith("compare/"))


def draw_report(
    record: Record,
    tables: dict[str, pd.DataFrame],
    folder: Path,
    form: Literal["html", "md"] = "html",
    against: Path | None = None,
    for_paper: bool = False,
) -> Published:
    """Write figures and report from `tables` into any folder."""
    from mossa.analysis import analyse
    from mossa.analysis.controls import bar_of
    from mossa.analysis.headline import (
        headline,  # here, for most of a run that has nothing to do would go into importing these
    )
    from mossa.report import write_report

    findings = analyse(tables, bar=bar_of(record.study))
    page = write_report(
        tables,
        folder,
        study=record.study.model_dump(mode="json"),
        provenance=_how_made(record),
        prompts=record.prompts,
        findings=findings,
        taught=taught(record.study),
        against=_other_run(against, findings.estimator) if against else None,
        format=form,
        for_paper=for_paper,
    )
    return Published(page, headline(findings))


def taught(study: StudySettings) -> list[str]:
    """Return the tasks that a base of TinyFLAN was taught; of other bases nothing is known."""
    base = Path(study.base.model)
    if study.tasks.source != "tinyflan" or base.parts[-3:-1] != ("tinyflan", "bases"):
        return []
    with contextlib.suppress(ModelError):
        return taught_tasks(base.name)
    return []


def _other_run(folder: Path, estimator: str | None) -> Against:
    """Return what was found in another run, read by the same measure; raises `DataError` if it has none."""
    from mossa.analysis import analyse
    from mossa.analysis.controls import bar_of
    from mossa.report.against import Against

    record = read_record(folder)
    tables = gather(record.run, record.units, record.fingerprints)
    if "similarity" not in tables:
        raise DataError(f"{folder} has no similarities to compare with. Run that study first.")
    name = record.study.name if folder.name == record.study.name else f"{record.study.name} ({folder.name})"
    findings = analyse(tables, estimator=estimator, bar=bar_of(record.study))
    return Against(name, findings, record.study.model_dump(mode="json"))


def is_current(record: Record) -> bool:
    """Tell whether the report in the run folder was finished, from the units as they are now."""
    mark, page = record.run.path / MADE_FROM, record.run.path / "report" / "index.html"
    return page.is_file() and mark.is_file() and mark.read_text() == _mark(record)


def _mark(record: Record) -> str:
    return made_from(record.run, record.units, record.fingerprints)


def _how_made(record: Record) -> dict[str, Any]:
    manifests = {name: record.run.manifest(name) for name in record.units}
    seconds = sum(manifest.get("seconds", 0) for manifest in manifests.values() if manifest)
    sizes = [manifest["parameters"] for manifest in manifests.values() if manifest and manifest.get("parameters")]
    return {
        **provenance(),
        "units": len(record.units),
        "not_done": {name: status.why for name, status in record.status().items() if status.state != "done"},
        "unit_seconds": round(seconds, 1),
        **({"parameters": sizes[0]} if sizes else {}),
        **_finished(record),
        "seeds": {"split": record.study.tasks.seed, "controls": record.study.control.seeds},
    }


def _finished(record: Record) -> dict[str, str]:
    """Return the day on which the last unit was done, by the time of its manifest."""
    paths = [record.run.folder(name) / MANIFEST for name in record.units]
    times = [path.stat().st_mtime for path in paths if path.is_file()]
    return {"finished": datetime.datetime.fromtimestamp(max(times), datetime.UTC).date().isoformat()} if times else {}
