"""All analyses of one run, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from mossa.analysis.answers import answers
from mossa.analysis.change import change, cluster_change, common_change, task_change
from mossa.analysis.controls import DEFAULT, Bar, judge_controls, judge_tuned
from mossa.analysis.correlates import correlates
from mossa.analysis.curves import average_references, cluster_distribution, distribution
from mossa.analysis.dimensionality import dimensionality
from mossa.analysis.dose import dose, dose_readings, with_dose
from mossa.analysis.encoded import encoded, encoded_clusters, encoded_layers
from mossa.analysis.missing import missing
from mossa.analysis.performance import performance, performance_summary
from mossa.analysis.place import over_tasks
from mossa.analysis.sections import sections
from mossa.analysis.tables import table
from mossa.analysis.unseen import unseen, unseen_overall
from mossa.errors import DataError, choices

WITHIN = "cka-linear-within-debiased"
DEBIASED = "cka-linear-debiased"
PLAIN = "cka-linear"


@dataclass(frozen=True)
class Findings:
    """Every table of the analysis, the answers in sentences, and what could not be answered.

    `estimator` is the similarity that was read and `beside` the paper's plain CKA, reported in addition (null if the
    run lacks it). docs/reference/analysis.md lists the columns of each table. `projection`, `separability`, `affinity`
    and `layer_map` are taken unchanged from the tables of the run.
    """

    baseline: str
    estimator: str | None
    beside: str | None
    controls: pd.DataFrame
    tuned: pd.DataFrame
    curves: pd.DataFrame
    distribution: pd.DataFrame
    cluster_distribution: pd.DataFrame
    sections: pd.DataFrame
    encoded: pd.DataFrame
    encoded_layers: pd.DataFrame
    encoded_clusters: pd.DataFrame
    change: pd.DataFrame
    common_change: pd.DataFrame
    cluster_change: pd.DataFrame
    task_change: pd.DataFrame
    unseen: pd.DataFrame
    performance: pd.DataFrame
    performance_summary: pd.DataFrame
    unseen_overall: pd.DataFrame
    dimensionality: pd.DataFrame
    dose: pd.DataFrame
    dose_readings: pd.DataFrame
    correlates: pd.DataFrame
    projection: pd.DataFrame
    separability: pd.DataFrame
    affinity: pd.DataFrame
    layer_map: pd.DataFrame
    place: pd.DataFrame
    answers: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def analyse(
    tables: Mapping[str, pd.DataFrame],
    baseline: str = "pretrained",
    estimator: str | None = None,
    bar: Bar = DEFAULT,
) -> Findings:
    """Return the findings of a run's `tables` (docs/project/architecture.md), any of which may be absent or empty.

    `estimator` defaults to debiased linear CKA within templates if every task has it, else the debiased one, else the
    paper's plain one, else the first there is. `bar`: what counts as having learned a task. Raises DataError for a
    table that breaks its contract and for an estimator the run does not have.
    """
    similarity, evaluation, adapters, spectrum, tasks, differences = (
        table(tables, name) for name in ("similarity", "evaluation", "adapters", "spectrum", "tasks", "difference")
    )
    there = [name for name in similarity["estimator"].unique() if not name.startswith("shift-")]
    read = _choose(estimator, there, similarity)
    beside = PLAIN if PLAIN in there and read != PLAIN else None
    controls = judge_controls(similarity, evaluation, adapters, baseline, bar)
    tuned = judge_tuned(similarity, evaluation, baseline, bar)
    curves = average_references(similarity, controls)
    layers = encoded_layers(curves, baseline)
    helped = performance(evaluation, controls, curves, baseline)
    dosed = with_dose(controls, adapters, spectrum)
    by_task = encoded(layers, dosed)
    findings = Findings(
        baseline=baseline,
        estimator=read,
        beside=beside,
        controls=controls,
        tuned=tuned,
        curves=curves,
        distribution=distribution(curves),
        cluster_distribution=cluster_distribution(curves),
        sections=sections(curves, baseline, [name for name in (read, beside) if name]),
        encoded=by_task,
        encoded_layers=layers.drop(columns="sham_error"),
        encoded_clusters=encoded_clusters(by_task),
        change=change(curves, baseline),
        common_change=common_change(curves, baseline),
        cluster_change=cluster_change(curves, baseline),
        task_change=task_change(differences, controls, tuned),
        unseen=unseen(curves, baseline),
        performance=helped,
        performance_summary=performance_summary(helped),
        unseen_overall=unseen_overall(curves, baseline),
        dimensionality=dimensionality(spectrum, controls, baseline),
        dose=dose(similarity, dosed, baseline),
        dose_readings=dose_readings(curves, differences, tuned, baseline, read or ""),
        correlates=correlates(curves, tasks, dosed),
        projection=tables.get("projection", pd.DataFrame()),
        separability=tables.get("separability", pd.DataFrame()),
        affinity=tables.get("affinity", pd.DataFrame()),
        layer_map=tables.get("layer_map", pd.DataFrame()),
        place=over_tasks(tables.get("place", pd.DataFrame())),
        answers=(),
        missing=(),
    )
    return replace(findings, answers=answers(findings), missing=missing(findings))


def _choose(estimator: str | None, there: list[str], similarity: pd.DataFrame) -> str | None:
    """Return the estimator to read; DataError if the one asked for is not there."""
    if estimator is None:
        known = [name for name in there if name != WITHIN or _templates_are_known(similarity)]
        return next((name for name in (WITHIN, DEBIASED, PLAIN, *there) if name in known), None)
    if estimator not in there:
        raise DataError(f"The similarity table has no estimator {estimator!r}. {choices(estimator, there)}")
    return estimator


def _templates_are_known(similarity: pd.DataFrame) -> bool:
    """Return whether every task that has a similarity to its control has one within templates."""
    own = similarity[(similarity["relation"] == "control") & similarity["value"].notna()]
    return set(own.loc[own["estimator"] == WITHIN, "task"]) == set(own["task"])
