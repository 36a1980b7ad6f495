"""The page as one string: the template filled, style, scripts and plotly.js inlined, the data embedded as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from mossa.analysis import Findings
from mossa.analysis.controls import failed
from mossa.report.gallery import Picture
from mossa.report.page.facts import facts
from mossa.report.questions import by_question

SCRIPTS = ("base.js", "map.js", "encoded.js", "boxes.js", "heatmap.js", "tasks.js", "space.js", "controls.js")


def asset(name: str) -> str:
    """Return the text of one file of this package."""
    return (files("mossa.report.page") / name).read_text(encoding="utf-8")


def render(
    findings: Findings,
    data: Mapping[str, Any],
    pictures: list[Picture],
    not_drawn: list[str],
    tables: Mapping[str, pd.DataFrame],
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    prompts: Mapping[str, list[str]],
) -> str:
    """Return the page. Everything that came from outside is escaped; the page's own policy forbids any request."""
    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["yaml"] = as_yaml
    return environment.get_template("page.html.j2").render(
        data=data,
        tasks=facts(data["tasks"], tables, prompts),
        judged=int(findings.controls["learned"].eq(True).fillna(False).sum()),
        readings=agreement(findings.dose_readings),
        failed_controls=findings.controls[failed(findings.controls)].to_dict("records"),
        findings=findings,
        questions=by_question(findings.answers),
        counts=counts(data, findings),
        pictures=pictures,
        missing=[*findings.missing, *not_drawn],
        study=study,
        name=str(study.get("name", "study")),
        provenance=provenance,
        style=asset("style.css"),
        plotly=get_plotlyjs(),
        scripts="\n".join(asset(name) for name in SCRIPTS),
    )


def agreement(readings: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, per model, on how many tasks the paper's reading and the dose-controlled one agree, and where not."""
    return [
        {
            "model": model,
            "tasks": len(part),
            "agree": int(part["agree"].eq(True).fillna(False).sum()),
            "disagree": list(part.loc[part["agree"].eq(False).fillna(False), "task"]),
            "unknown": int(part["agree"].isna().sum()),
        }
        for model, part in readings.groupby("experimental", sort=False)
    ]


def as_yaml(value: Any) -> str:
    """Return settings as YAML, with anything that is not text, number, list or mapping written as text."""
    return yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False, allow_unicode=True, width=88)


def counts(data: Mapping[str, Any], findings: Findings) -> list[tuple[str, str]]:
    """Return the few numbers on top of the page: what was compared, and what was left out."""
    curves = findings.curves[
        findings.curves["estimator"].eq(data["estimator"]) & findings.curves["relation"].eq("control")
    ]
    missing = int(curves["value"].isna().sum())
    prompts = curves.drop_duplicates("task")["n"].sum()
    poor = int(failed(findings.controls).sum())
    return [
        ("tasks", f"{len(data['tasks'])}"),
        ("clusters", f"{len(data['clusters'])}"),
        ("layers", f"{len(data['layers'])}"),
        ("models compared", f"{curves['experimental'].nunique()}"),
        ("prompts", f"{int(prompts):,}" if pd.notna(prompts) else "unknown"),
        ("controls that did not learn", f"{poor} of {len(findings.controls)}"),
        ("undefined similarities", f"{missing:,} of {len(curves):,}"),
    ]
