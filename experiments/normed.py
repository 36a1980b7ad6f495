"""The last layer after the final norm, from a run that kept it before it: `python -m experiments.normed RUN`.

The final norm works on each token alone, and adapters on attention leave it as it is, so its output follows from the
representations of a run with `last_layer: raw`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import typer

from mossa.analysis.over_tasks import interval
from mossa.models.base import load_base
from mossa.models.blocks import decoder_of
from mossa.similarity import compare
from mossa.store.tensors import map_tensors
from mossa.study import load_study
from mossa.study.schema import BASE

ESTIMATORS = ("cka-linear", "cka-linear-debiased")


def normed(run: Path) -> pd.DataFrame:
    """Return the mean similarity to a task's controls by task, model, estimator and kind of last layer."""
    study = load_study(run / "study.yaml")
    base = load_base(study.base)
    norm: Any = decoder_of(base.model).norm
    norm.float()
    rows: list[dict[str, Any]] = []

    def last(model: str, task: str) -> dict[str, torch.Tensor]:
        stored = map_tensors(run / "units" / "represent" / f"{model}@{task}" / "representations.safetensors")
        raw = torch.tensor(np.array(stored["representations"][:, -1:]))
        with torch.no_grad():
            return {"raw": raw, "normed": norm(raw)}

    for task in pd.read_parquet(run / "results" / "tasks.parquet")["task"]:
        models = {name: last(name, task) for name in (BASE, *study.experimental)}
        for seed in study.control.seeds:
            control = last(f"control-{task}-seed{seed}", task)
            for kind, reference in control.items():
                arrays = {name: states[kind] for name, states in models.items()}
                found = compare(arrays, reference, ESTIMATORS).similarity
                rows += [{"task": task, "seed": seed, "kind": kind, **row} for row in found]
    return pd.DataFrame(rows).groupby(["estimator", "kind", "model", "task"])[["value"]].mean().reset_index()


def main(run: Path) -> None:
    """Print medians over tasks, and the change from the base with its 95 % interval."""
    table = normed(run).pivot(index=["estimator", "kind", "task"], columns="model", values="value")
    for (estimator, kind), part in table.groupby(level=["estimator", "kind"]):
        said = [f"{estimator}, {kind}, {len(part)} tasks: {BASE} {part[BASE].median():.3f}"]
        for name in part.columns.drop(BASE):
            change = (part[name] - part[BASE]).to_numpy(float)
            low, high = interval(change)
            said.append(f"{name} {part[name].median():.3f}, change {np.median(change):+.3f} [{low:+.3f}, {high:+.3f}]")
        typer.echo("; ".join(said))


if __name__ == "__main__":
    typer.run(main)
