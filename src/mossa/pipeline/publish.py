"""Hands the tables of a run to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mossa.pipeline.provenance import provenance
from mossa.pipeline.run import Prepared
from mossa.report import write_report

SHOWN_PROMPTS = 3  # per task


def publish(prepared: Prepared, tables: dict[str, pd.DataFrame], form: Literal["html", "md"] = "html") -> Path:
    """Write figures and report from `tables`; return the page to open."""
    study = prepared.study
    with prepared.run.writing():
        return write_report(
            tables,
            prepared.run.path / "report",
            study=study.model_dump(mode="json"),
            provenance=_how_made(prepared),
            prompts={task.name: [example.prompt for example in task.test[:SHOWN_PROMPTS]] for task in prepared.tasks},
            format=form,
        )


def _how_made(prepared: Prepared) -> dict[str, Any]:
    manifests = {name: prepared.run.manifest(name) for name in prepared.units}
    seconds = sum(manifest.get("seconds", 0) for manifest in manifests.values() if manifest)
    return {
        **provenance(),
        "units": len(prepared.units),
        "not_done": {name: status.why for name, status in prepared.status.items() if status.state != "done"},
        "unit_seconds": round(seconds, 1),
        "seeds": {"split": prepared.study.tasks.seed, "controls": prepared.study.control.seeds},
    }
