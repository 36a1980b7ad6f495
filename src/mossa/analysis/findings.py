"""All analyses of one run, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mossa.analysis import sections as sections_rule
from mossa.analysis.change import change, cluster_change, paired_differences, task_change, unseen
from mossa.analysis.controls import judge_controls
from mossa.analysis.correlates import correlates
from mossa.analysis.curves import average_references, populations
from mossa.analysis.dimensionality import dimensionality
from mossa.analysis.distribution import cluster_distribution, distribution
from mossa.analysis.dose import dose, dose_readings
from mossa.analysis.encoded import encoded, encoded_clusters, encoded_layers
from mossa.analysis.tables import table

DEBIASED = "cka-linear-debiased"
PLAIN = "cka-linear"
SHIFT = "shift-"


@dataclass(frozen=True)
class Findings:
    """Every table of the analysis, the answers in sentences, and what could not be answered.

    `estimator` is the similarity that was read and `beside` the paper's plain CKA reported next to it (null if the
    run lacks it). The columns of each table are listed in docs/analysis.md. `projection`, `separability`, `affinity`
    and `layer_map` are handed through from the tables of the run.
    """

    baseline: str
    estimator: str | None
    beside: str | None
    controls: pd.DataFrame
    curves: pd.DataFrame
    distribution: pd.DataFrame
    cluster_distribution: pd.DataFrame
    sections: pd.DataFrame
    encoded: pd.DataFrame
    encoded_layers: pd.DataFrame
    encoded_clusters: pd.DataFrame
    change: pd.DataFrame
    cluster_change: pd.DataFrame
    task_change: pd.DataFrame
    unseen: pd.DataFrame
    dimensionality: pd.DataFrame
    dose: pd.DataFrame
    dose_readings: pd.DataFrame
    correlates: pd.DataFrame
    projection: pd.DataFrame
    separability: pd.DataFrame
    affinity: pd.DataFrame
    layer_map: pd.DataFrame
    answers: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def analyse(tables: Mapping[str, pd.DataFrame], baseline: str = "pretrained", estimator: str | None = None) -> Findings:
    """Return the findings of a run's `tables` (docs/architecture.md), any of which may be absent or empty.

    `estimator` defaults to debiased linear CKA, else the paper's plain one, else the first there is. Raises DataError
    for a table that breaks its contract and for an estimator the run does not have.
    """
    similarity, evaluation, adapters, spectrum, tasks, differences = (
        table(tables, name) for name in ("similarity", "evaluation", "adapters", "spectrum", "tasks", "difference")
    )
    read = estimator or DEBIASED
    controls = judge_controls(similarity, evaluation, adapters, baseline)
    curves = average_references(similarity, controls)
    layers = encoded_layers(curves, baseline)
    by_task = encoded(layers, controls, spectrum)
    return Findings(
        baseline=baseline,
        estimator=read,
        beside=PLAIN,
        controls=controls,
        curves=curves,
        distribution=distribution(curves),
        cluster_distribution=cluster_distribution(curves),
        sections=_sections(curves, baseline, [read, PLAIN]),
        encoded=by_task,
        encoded_layers=layers,
        encoded_clusters=encoded_clusters(by_task),
        change=change(curves, baseline),
        cluster_change=cluster_change(curves, baseline),
        task_change=task_change(differences, controls),
        unseen=unseen(curves, baseline),
        dimensionality=dimensionality(spectrum, controls, baseline),
        dose=dose(similarity, adapters, spectrum, controls, baseline),
        dose_readings=dose_readings(curves, baseline, read),
        correlates=correlates(curves, tasks, adapters, controls),
        projection=tables.get("projection", pd.DataFrame()),
        separability=tables.get("separability", pd.DataFrame()),
        affinity=tables.get("affinity", pd.DataFrame()),
        layer_map=tables.get("layer_map", pd.DataFrame()),
        answers=(),
        missing=(),
    )


def _sections(curves: pd.DataFrame, baseline: str, estimators: list[str]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    models = [m for m in curves["experimental"].unique() if m not in (baseline, "control")]
    for experimental in models:
        for estimator in estimators:
            differences = paired_differences(curves, experimental, baseline, estimator)
            for population, members in populations(curves, experimental).items():
                head = {"experimental": experimental, "estimator": estimator, "population": population}
                rows.append(head | sections_rule.sections_row(differences[differences.index.isin(members)]))
    return pd.DataFrame(rows, columns=sections_rule.COLUMNS)
