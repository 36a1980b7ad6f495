"""The page as one string: the template filled, style, script and plotly.js inlined, the charts embedded as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from mossa.analysis import Findings
from mossa.analysis.answers import by_question
from mossa.analysis.headline import headline
from mossa.report.against import Against, against_chart, differing, exact_match
from mossa.report.colours import DARK
from mossa.report.figure_list import ReportFigure
from mossa.report.page import layer_charts, map_charts, task_charts
from mossa.report.page.chart import Chart
from mossa.report.page.masthead import BIBTEX, WORDS, masthead
from mossa.report.page.rows import task_table


class PageSource(NamedTuple):
    """What a page is made of; `taught` are tasks that the base is known to have been taught."""

    findings: Findings
    estimator: str
    tables: Mapping[str, pd.DataFrame]
    study: Mapping[str, Any]
    provenance: Mapping[str, Any]
    prompts: Mapping[str, Sequence[str | Sequence[str]]]
    taught: frozenset[str] = frozenset()
    against: Against | None = None


def asset(name: str) -> str:
    """Return the text of one file of this package."""
    return (files("mossa.report.page") / name).read_text(encoding="utf-8")


def charts(source: PageSource) -> dict[str, list[Chart]]:
    """Return the charts of every part of the page, without those that this study does not allow."""
    findings, estimator = source.findings, source.estimator
    plan: dict[str, list[Chart | None]] = {
        "change": [layer_charts.change_chart(findings, estimator)],
        "against": [against_chart(findings, source.against)] if source.against else [],
        "performance": [task_charts.performance_chart(findings)],
        "layers": [layer_charts.layers_chart(findings, estimator)],
        "place": [layer_charts.place_chart(source.tables.get("place"), findings.curves)],
        "encoded": [task_charts.encoded_chart(findings, estimator, source.taught)],
        "tasks": [map_charts.heat_chart(findings, estimator)],
        "more": [
            layer_charts.separability_chart(findings),
            layer_charts.dimensions_chart(findings),
            map_charts.correlates_chart(findings, estimator),
            map_charts.specialists_chart(findings, estimator),
            *map_charts.relations_charts(findings),
            map_charts.projection_chart(findings),
        ],
    }
    return {part: [chart for chart in those if chart is not None] for part, those in plan.items()}


def render(
    source: PageSource,
    figures: list[ReportFigure],
    not_drawn: list[str],
    inside: Mapping[str, list[tuple[str, str]]] | None = None,
) -> str:
    """Return the page of a study; `inside`: title and data address of the figures in each section (`embedded`)."""
    findings, parts, other = source.findings, charts(source), source.against
    table = task_table(findings, source.estimator, source.tables, source.prompts, source.taught)
    everything = [chart for those in parts.values() for chart in those] + [row.chart for row in table.rows]
    return fill(
        "page.html.j2",
        everything,
        name=str(source.study.get("name", "study")),
        facts=masthead(source.study, source.provenance, findings, source.estimator),
        headline=headline(findings),
        questions=by_question(findings.answers),
        missing=[*findings.missing, *not_drawn],
        parts=parts,
        table=table,
        figures=figures,
        inside=inside or {},
        against=other,
        differing=differing(*map(without_paths, (source.study, other.study))) if other else [],
        both=exact_match(findings, other) if other else [],
        words=WORDS,
        bibtex=BIBTEX,
        made=as_yaml(without_paths(source.provenance)),
        study=as_yaml(without_paths(source.study)),
    )


def with_code(text: str) -> Markup:
    """Return a sentence for the page, with what stands between backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def fill(template: str, drawn: Sequence[Chart], **values: Any) -> str:
    """Return a page with its charts, its style and its scripts inside.

    All text from outside is escaped; the content security policy of the page forbids any request.
    """
    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["with_code"] = with_code
    environment.filters["breakable"] = lambda text: Markup("_<wbr>").join(map(escape, str(text).split("_")))
    return environment.get_template(template).render(
        **values,
        data={"dark": DARK, "charts": {chart.name: chart.as_json() for chart in drawn}},
        style=asset("style.css"),
        plotly=get_plotlyjs(),
        script=asset("page.js"),
    )


def as_yaml(value: Any) -> str:
    """Return settings as YAML, with anything that is not text, number, list or mapping written as text."""
    return yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False, allow_unicode=True, width=88)


def without_paths(value: Any) -> Any:
    """Return settings with every absolute path cut to its last part: where files are kept is private."""
    if isinstance(value, Mapping):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(each) for each in value]
    text = str(value)
    return f"…/{text.rstrip('/').rsplit('/', 1)[-1]}" if text.startswith("/") and "\n" not in text else value
