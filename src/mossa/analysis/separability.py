"""How well cluster, task and template can be read off the representations: the number behind figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold, StratifiedKFold

from mossa.analysis.linear_classifier import cross_predicted
from mossa.analysis.over_tasks import Floats
from mossa.analysis.projection import gather, principal, sample

COLUMNS = [
    "model",
    "layer",
    "label",
    "silhouette",
    "accuracy",
    "chance",
    "classes",
    "tasks",
    "n",
    "non_finite",
    "reason",
]
FOLDS = 5


def separability(
    representations: Mapping[str, NDArray[np.floating]],
    clusters: Mapping[str, str],
    model: str,
    templates: Mapping[str, Sequence[str | None]] | None = None,
    layers: Sequence[int] | None = None,
    per_task: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Return, per (layer, label), silhouette and a linear classifier's cross-validated accuracy; see `COLUMNS`.

    `label` is `task`; `cluster`; `cluster_of_new_task` (the classifier is tested on tasks it was not fitted on, among
    clusters of two or more tasks); or `template` (within each task that has several, then averaged over those tasks).
    On at most `per_task` prompts a task: silhouette with Euclidean distance on their first 50 principal components, and
    logistic regression over 5 folds on the first 50 of the standardised dimensions. Each dimension counts alike, so a
    few huge ones do not hide the rest; the components themselves keep their proportions, for 50 prompts of one task
    whose 49 components are made equally large are noise above all. `chance` is the share of the largest class.
    `templates` gives one name per prompt of a task. Where a number cannot be had it is null and `reason` says why.
    """
    rows = sample(representations, clusters, per_task)
    names = templates or {}
    rows["template"] = [
        names[task][prompt] if task in names else None
        for task, prompt in zip(rows["task"], rows["prompt"], strict=True)
    ]
    depth = min((array.shape[1] for array in representations.values()), default=0)
    table: list[dict[str, object]] = []
    for layer in layers if layers is not None else range(1, depth + 1):
        x = gather(representations, rows, layer)
        finite = np.asarray(np.isfinite(x).all(axis=1))
        head = {"model": model, "layer": layer, "non_finite": int((~finite).sum())}
        table += [head | row for row in _layer(x[finite], rows.loc[finite], seed)]
    return pd.DataFrame(table, columns=COLUMNS)


def _layer(x: Floats, rows: pd.DataFrame, seed: int) -> list[dict[str, object]]:
    """Return the rows of one layer from `x` `[n, d]` and its labels."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    grouped = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    several = rows.groupby("cluster")["task"].transform("nunique").ge(2).to_numpy()
    return [
        {"label": "task"} | separate(x, rows["task"], rows["task"], folds, seed),
        {"label": "cluster"} | separate(x, rows["cluster"], rows["task"], folds, seed),
        {"label": "cluster_of_new_task"}
        | separate(x[several], rows.loc[several, "cluster"], rows.loc[several, "task"], grouped, seed),
        {"label": "template"} | _within_tasks(x, rows, folds, seed),
    ]


def _within_tasks(x: Floats, rows: pd.DataFrame, folds: BaseCrossValidator, seed: int) -> dict[str, object]:
    """Return the mean over tasks of how well a task's templates are told apart."""
    named = rows["template"].notna().to_numpy()
    found: list[dict[str, object]] = []
    for _, group in rows[named].groupby("task"):
        here = rows.index.isin(group.index)
        found.append(separate(x[here], group["template"], group["task"], folds, seed))
    usable = pd.DataFrame([row for row in found if row["reason"] is None])
    if usable.empty:
        why = "no task has several templates with enough prompts each" if named.any() else "no templates are named"
        return {"tasks": 0, "n": 0, "reason": why}
    means = usable[["silhouette", "accuracy", "chance", "classes"]].astype(float).mean()
    row: dict[str, object] = {str(name): float(mean) for name, mean in means.items()}
    return row | {"tasks": len(usable), "n": int(usable["n"].sum()), "reason": None}


def separate(x: Floats, labels: pd.Series, tasks: pd.Series, folds: BaseCrossValidator, seed: int) -> dict[str, object]:
    """Return silhouette, accuracy and chance for one labelling of `x` `[n, d]`, or the reason for none.

    Classes with fewer members than folds (groups of tasks, where `folds` keeps tasks together) are left out, so `n`
    and `classes` say what was used.
    """
    by_task = isinstance(folds, StratifiedGroupKFold)
    members = tasks if by_task else pd.Series(range(len(labels)), labels.index)
    enough = members.groupby(labels).transform("nunique").ge(folds.get_n_splits()).to_numpy() if len(labels) else []
    x, labels, tasks = x[enough], labels[enough], tasks[enough]
    row: dict[str, object] = {"tasks": tasks.nunique(), "n": len(x), "classes": labels.nunique(), "reason": None}
    if labels.nunique() < 2:
        return row | {"reason": "fewer than two classes have enough members"}
    components = principal(x, seed)
    if components is None:
        return row | {"reason": "the representations do not vary over prompts"}
    groups = tasks.to_numpy() if by_task else None
    splits = list(folds.split(x, labels.to_numpy(), groups))
    if any(labels.iloc[learned].nunique() < 2 for learned, _ in splits):
        return row | {"reason": "some folds would learn from one class only"}
    predicted = cross_predicted(_inputs(x, seed), labels.to_numpy(), splits)
    return row | {
        "silhouette": float(silhouette_score(components, labels)),
        "accuracy": float(np.mean(predicted == labels.to_numpy())),
        "chance": float(labels.value_counts(normalize=True).max()),
    }


def _inputs(x: Floats, seed: int) -> Floats:
    """Return what a classifier sees of `x` `[n, d]`: principal components of its standardised dimensions, one scale."""
    deviation = x.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(x).max(axis=0)  # what float32 leaves of a dimension that does not vary
    components = principal((x - x.mean(axis=0)) / np.where(constant, 1.0, deviation), seed)
    assert components is not None  # x varies
    return components / components.std()
