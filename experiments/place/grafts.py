"""Readings of a model tuned in all layers against what its layers are worth: Spearman over layers, mean over tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.place.bootstrap import group_mean_words
from experiments.place.verdict import rank_correlation
from mossa.models.prompts import Encoded
from mossa.study.schema import StudySettings
from mossa.tasks.task import Task

TRUTHS = ("shapley", "first-k", "last-k", "leave-one-out", "add-one-in", "leave-window-out", "add-window-in")
READINGS = ("one-layer-change", "relative-change", "answer-gain-increment", "paper", "paper-increment", "early")
ESTIMATOR = "cka-linear-debiased"
READ, GRAFTED, WINDOW = 48, 12, 3  # prompts of a task that are read, and grafted; layers of a window


def compute_curves(run: Path, experimental: str = "sft", answers: bool = False) -> Iterator[str]:
    """Read one model of a finished study on every task, without Shapley values; yield the names of tasks done now.

    Each task leaves a table in `curves/` of the run folder and is not done again. The first task of each cluster comes
    first, so that what is there at any time is of as many clusters as it can be. `answers`: the gain is that of the
    answers without the token that ends them, and the tables are in `answer-curves/`.
    """
    from mossa.models.adapters import loaded_adapter
    from mossa.models.base import load_base
    from mossa.models.prompts import make_format
    from mossa.place import Stack, locate_update
    from mossa.representations.represent import evaluation_mode
    from mossa.study import load_study
    from mossa.tasks.collections import load_tasks

    study: StudySettings = load_study(run / "study.yaml")
    study = study.model_copy(update={"base": study.base.model_copy(update={"dtype": "float32"})})
    folder = run / curves_folder(answers)
    folder.mkdir(exist_ok=True)
    base = load_base(study.base)
    form = make_format(base.tokenizer, study.prompt, base.longest)
    adapter = run / "units" / "train" / experimental / "adapter"
    with loaded_adapter(base, adapter) as model, evaluation_mode(model):
        stack = Stack(None, model)
        for task in _clusters_first(load_tasks(study.tasks)):
            path = folder / f"{task.name}.parquet"
            if path.exists():
                continue
            examples = form.encode(task.test, task.name, with_target=True)
            templates = [task.test[each.index].template for each in examples[:READ]]
            named = None if None in templates else templates
            read = locate_update(stack, examples[:READ], named, ["one-layer-change", "answer-gain"])
            grafted = [_without_end(each) if answers else each for each in examples[:GRAFTED]]
            curves = locate_update(stack, grafted, readings=["curves"], window=WINDOW)
            table = pd.concat([read.table, curves.table], ignore_index=True)
            table = table.assign(experimental=experimental, task=task.name, cluster=task.cluster)
            table.to_parquet(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
            yield task.name


def curves_folder(answers: bool) -> str:
    """Return where in a run folder the tables of `compute_curves` are."""
    return "answer-curves" if answers else "curves"


def _without_end(example: Encoded) -> Encoded:
    return replace(example, tokens=example.tokens[:-1])


def _clusters_first(tasks: list[Task]) -> list[Task]:
    """Return the first task of every cluster, then the others."""
    first = {task.cluster: task for task in reversed(tasks)}
    return sorted(tasks, key=lambda task: first[task.cluster] is not task)


def against_grafts(run: Path, experimental: str = "sft", answers: bool = False) -> str:
    """Return a Markdown table of every reading against every truth, for one model of a study.

    What its layers are worth is in `curves/` of the run folder (`answer-curves/` for `answers`), or in the results of a
    study with `place`.
    """
    curves, results = sorted((run / curves_folder(answers)).glob("*.parquet")), run / "results"
    place = pd.concat(map(pd.read_parquet, curves)) if curves else pd.read_parquet(results / "place.parquet")
    place = place[place["experimental"] == experimental]
    similarity = pd.read_parquet(results / "similarity.parquet")
    rows = [_of_task(task, place, similarity, experimental) for task in sorted(place["task"].unique())]
    rows = [row for row in rows if row]
    clusters = place.dropna(subset="cluster").set_index("task")["cluster"].to_dict()
    truths = [truth for truth in TRUTHS if truth in set(place["reading"])]
    lines = [
        f"{len(rows)} of {place['task'].nunique()} tasks have a gain.",
        "",
        f"| reading | {' | '.join(truths)} |",
        f"|{' --- |' * (len(truths) + 1)}",
    ]
    for reading in READINGS:
        cells = [_mean([(clusters[row["task"]], row.get((reading, truth))) for row in rows]) for truth in truths]
        lines.append(f"| {reading} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_task(task: str, place: pd.DataFrame, similarity: pd.DataFrame, experimental: str) -> dict[object, object]:
    """Return Spearman's correlation by (reading, truth) for one task; nothing where the graft has no values."""
    here = place[(place["task"] == task) & (place["layer"] > 0)]
    values = {str(name): _by_layer(part) for name, part in here.groupby("reading")}
    if "first-k" not in values or not np.isfinite(values["first-k"]).all():
        return {}
    own = similarity[(similarity["task"] == task) & (similarity["estimator"] == ESTIMATOR)]
    values["paper"] = _to_controls(own, experimental) - _to_controls(own, "pretrained")
    values["paper-increment"] = np.diff(values["paper"], prepend=0.0)
    values["early"] = -np.arange(len(values["first-k"]), dtype=float)
    found: dict[object, object] = {"task": task}
    for reading in READINGS:
        for truth in TRUTHS:
            if truth in values and reading in values and np.isfinite(values[reading]).all():
                found[reading, truth] = rank_correlation(values[reading], values[truth])
    return found


def _by_layer(rows: pd.DataFrame) -> NDArray[np.float64]:
    return rows.sort_values("layer")["value"].to_numpy(dtype=float)


def _to_controls(rows: pd.DataFrame, model: str) -> NDArray[np.float64]:
    """Return the similarity of a model to the task's controls per layer, mean over seeds."""
    chosen = rows[(rows["relation"] == "control") & (rows["experimental"] == model)]
    return chosen.groupby("layer")["value"].mean().sort_index().to_numpy(dtype=float)


def _mean(found: list[tuple[str, object]]) -> str:
    """Return a mean with its 95 % interval from a bootstrap over clusters."""
    by_cluster: dict[str, list[float]] = {}
    for cluster, value in found:
        if isinstance(value, float) and np.isfinite(value):
            by_cluster.setdefault(cluster, []).append(value)
    return group_mean_words(list(by_cluster.values()))
