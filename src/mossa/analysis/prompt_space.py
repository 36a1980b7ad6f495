"""The space of all tasks' prompts: a map of it (figure 4), and how well cluster, task and template can be read off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold, StratifiedKFold, cross_val_predict

from mossa.analysis.over_tasks import Floats
from mossa.errors import SimilarityError

COLUMNS = ["model", "layer", "task", "cluster", "prompt", "x", "y", "reason"]
COMPONENTS = 50
PERPLEXITY = 30.0
ITERATIONS = 500  # half the time of scikit-learn's 1,000, for a divergence .01 to .02 higher at a thousand prompts
FEWEST_PROMPTS = 5

SEPARABILITY_COLUMNS = [
    "model", "layer", "label", "silhouette", "accuracy", "chance", "classes", "tasks", "n", "non_finite", "reason",
]  # fmt: skip
FOLDS = 5
TOLERANCE = 1e-3  # accuracies within .004 of those at 1e-4, in two thirds of the time


def projection(
    representations: Mapping[str, NDArray[np.floating]],
    clusters: Mapping[str, str],
    layers: Sequence[int],
    model: str,
    per_task: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the t-SNE position of every prompt at each of `layers`; see `COLUMNS`.

    `representations` maps a task to `[n, L, d]`. PCA to 50 dimensions first, perplexity 30 (a third of the prompts
    where there are fewer than 91), PCA start, 500 iterations, seeded. At most `per_task` prompts of a task, evenly
    spaced; `prompt` is the row in the task's array, from 0. Where a prompt has no position, `reason` says why. Raises
    SimilarityError for a layer the representations do not have.
    """
    rows = sample(representations, clusters, per_task)
    tables: list[pd.DataFrame] = []
    for layer in layers:
        x = gather(representations, rows, layer)
        found = np.isfinite(x).all(axis=1)
        position = np.full((len(x), 2), np.nan)
        problem = "not finite"
        components = principal(x[found], seed) if found.sum() >= FEWEST_PROMPTS else None
        if components is None:
            problem = f"fewer than {FEWEST_PROMPTS} finite prompts, or representations that do not vary"
        else:
            perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
            picture = TSNE(perplexity=perplexity, init="pca", max_iter=ITERATIONS, random_state=seed)
            position[found] = picture.fit_transform(components)
        table = rows.assign(model=model, layer=layer, x=position[:, 0], y=position[:, 1])
        table["reason"] = pd.Series(problem, table.index, dtype="object").where(table["x"].isna(), None)
        tables.append(table)
    return pd.concat(tables or [rows.head(0)], ignore_index=True).reindex(columns=COLUMNS)


def sample(
    representations: Mapping[str, NDArray[np.floating]], clusters: Mapping[str, str], per_task: int
) -> pd.DataFrame:
    """Return at most `per_task` evenly spaced prompts of each task as rows (task, cluster, prompt)."""
    rows = [
        {"task": task, "cluster": clusters[task], "prompt": int(prompt)}
        for task, array in representations.items()
        for prompt in np.unique(np.linspace(0, len(array) - 1, min(per_task, len(array))).round().astype(int))
    ]
    return pd.DataFrame(rows, columns=["task", "cluster", "prompt"])


def gather(representations: Mapping[str, NDArray[np.floating]], rows: pd.DataFrame, layer: int) -> Floats:
    """Return the representations `[n, d]` of the prompts in `rows` at `layer` (1..L), in their order."""
    parts: list[NDArray[np.floating]] = []
    for task, group in rows.groupby("task", sort=False):
        array = representations[str(task)]
        if not 1 <= layer <= array.shape[1]:
            raise SimilarityError(f"Layer {layer} of task {task!r} is not there; its layers are 1 to {array.shape[1]}.")
        parts.append(array[group["prompt"].to_numpy(), layer - 1])
    return np.concatenate(parts).astype(np.float64)


def principal(x: Floats, seed: int) -> Floats | None:
    """Return the first 50 principal components `[n, 50]` (fewer if n or d is smaller), null if x does not vary."""
    if np.sum((x - x.mean(axis=0)) ** 2) <= 1e-12 * np.sum(x**2):
        return None
    return PCA(min(COMPONENTS, len(x) - 1, x.shape[1]), random_state=seed).fit_transform(x)


def separability(
    representations: Mapping[str, NDArray[np.floating]],
    clusters: Mapping[str, str],
    model: str,
    templates: Mapping[str, Sequence[str | None]] | None = None,
    layers: Sequence[int] | None = None,
    per_task: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Return, per (layer, label), silhouette and cross-validated accuracy of a linear classifier.

    Columns: `SEPARABILITY_COLUMNS`.

    `label` is `task`; `cluster`; `cluster_of_new_task` (the classifier is tested on tasks it was not fitted on, among
    clusters of two or more tasks); or `template` (within each task that has several, then averaged over those tasks).
    On at most `per_task` prompts a task: silhouette with Euclidean distance on their first 50 principal components, and
    logistic regression over 5 folds on the first 50 of the standardised dimensions. All dimensions count equally, so a
    few very large ones do not hide the rest. The components keep their relative sizes: with 50 prompts, making all 49
    components equally large would mostly amplify noise. `chance` is the share of the largest class. `templates` gives
    one name per prompt of a task. A number that cannot be computed is null, and `reason` says why.
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
        with config_context(assume_finite=True, skip_parameter_validation=True):  # a fit of 50 prompts is mostly checks
            table += [head | row for row in _layer(x[finite], rows.loc[finite], seed)]
    return pd.DataFrame(table, columns=SEPARABILITY_COLUMNS)


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
    classifier = LogisticRegression(max_iter=1000, tol=TOLERANCE)
    predicted = cross_val_predict(classifier, _inputs(x, seed), labels.to_numpy(), cv=splits)
    row |= {"silhouette": float(silhouette_score(components, labels))}
    right, chance = np.mean(predicted == labels.to_numpy()), labels.value_counts(normalize=True).max()
    return row | {"accuracy": float(right), "chance": float(chance)}


def _inputs(x: Floats, seed: int) -> Floats:
    """Return the input of a classifier for `x` `[n, d]`: principal components of its standardised dimensions."""
    deviation = x.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(x).max(axis=0)  # what float32 leaves of a dimension that does not vary
    components = principal((x - x.mean(axis=0)) / np.where(constant, 1.0, deviation), seed)
    assert components is not None  # x varies
    return components / components.std()
