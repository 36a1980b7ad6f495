"""Hands the tables of a run to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mossa.pipeline.provenance import provenance
from mossa.pipeline.results import made_from
from mossa.pipeline.run import Prepared
from mossa.report import write_report

SHOWN_PROMPTS = 3  # per task
MADE_FROM = "report/.made-from"  # beside the page: from which units


def publish(prepared: Prepared, tables: dict[str, pd.DataFrame], form: Literal["html", "md"] = "html") -> Path:
    """Write figures and report from `tables`; return the page to open."""
    study = prepared.study
    with prepared.run.writing():
        if form == "html":  # until the page is whole again, it counts as old
            (prepared.run.path / MADE_FROM).unlink(missing_ok=True)
        page = write_report(
            tables,
            prepared.run.path / "report",
            study=study.model_dump(mode="json"),
            provenance=_how_made(prepared),
            prompts={task.name: [example.prompt for example in task.test[:SHOWN_PROMPTS]] for task in prepared.tasks},
            format=form,
        )
        if form == "html":
            (prepared.run.path / MADE_FROM).write_text(_mark(prepared))
    return page


def is_current(prepared: Prepared) -> bool:
    """Tell whether the report on disk was finished, from the units as they are now."""
    mark, page = prepared.run.path / MADE_FROM, prepared.run.path / "report" / "index.html"
    return page.is_file() and mark.is_file() and mark.read_text() == _mark(prepared)


def _mark(prepared: Prepared) -> str:
    return made_from(prepared.run, prepared.units, prepared.fingerprints)


def _how_made(prepared: Prepared) -> dict[str, Any]:
    manifests = {name: prepared.run.manifest(name) for name in prepared.units}
    seconds = sum(manifest.get("seconds", 0) for manifest in manifests.values() if manifest)
    return {
        **provenance(),
        "units": len(prepared.units),
        "not_done": {
            name: status.why
            for name, unit in prepared.units.items()
            if (status := prepared.run.status(unit, prepared.fingerprints[name])).state != "done"
        },
        "unit_seconds": round(seconds, 1),
        "seeds": {"split": prepared.study.tasks.seed, "controls": prepared.study.control.seeds},
    }
