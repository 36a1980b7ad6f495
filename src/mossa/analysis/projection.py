"""Pictures of all tasks' representations at chosen layers (figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from mossa.analysis.over_tasks import Floats
from mossa.errors import SimilarityError

COLUMNS = ["model", "layer", "task", "cluster", "prompt", "x", "y", "reason"]
COMPONENTS = 50
PERPLEXITY = 30.0
ITERATIONS = 500  # half the time of scikit-learn's 1,000, for a divergence .01 to .02 higher at a thousand prompts
FEWEST_PROMPTS = 5


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
