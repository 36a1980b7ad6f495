"""A study as a user would write it today: TRL and PEFT, one prompt at a time, CKA in float64 pair by pair.

Each adapter begins with the base loaded anew. Representations are taken of the models that mossa trained, so that the
similarities of both can be compared; taking those of one's own costs the same.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from extraction_worker import authors
from mossa.models.prompts import Encoded
from mossa.run.run import prepare
from mossa.steps.context import StepContext
from mossa.steps.job import Job
from mossa.study import load_study
from mossa.tasks.mixture import mix
from training_worker import BATCH, trl


def cka(y: torch.Tensor, z: torch.Tensor) -> float:
    """Return linear CKA of `[n, d]` and `[n, d]`, as in the paper's script."""
    y, z = (side.double() - side.double().mean(0) for side in (y, z))
    return float((y.T @ z).norm() ** 2 / ((y.T @ y).norm() * (z.T @ z).norm()))


def main() -> None:
    if not find_spec("trl"):
        print(json.dumps({"missing": "TRL is not installed; pip install 'mossa[bench]'"}))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("runs", type=Path, help="where mossa has run this study")
    arguments = parser.parse_args()
    prepared = prepare(load_study(arguments.study), arguments.runs)
    context = StepContext(Job(prepared.study, prepared.tasks, prepared.run, prepared.fingerprints), "cpu")
    recipe, folder = prepared.study.recipe, prepared.run.path

    def base() -> Any:
        return AutoModelForCausalLM.from_pretrained(prepared.study.base.model, dtype=torch.float32).eval()

    spent: dict[str, float] = {}

    def timed(what: str, busy: float) -> None:
        spent[what] = spent.get(what, 0.0) + time.process_time() - busy

    start = time.perf_counter()
    for names in [[task.name for task in prepared.tasks], *([task.name] for task in prepared.tasks)]:
        busy = time.process_time()
        mixed = mix([context.tasks[name] for name in names], None, 0)
        examples: list[Encoded] = context.format.encode(mixed, "train", with_target=True)
        trl(base(), examples[: len(examples) // BATCH * BATCH], recipe.budget.steps or 1)
        timed("training", busy)
    gaps: list[float] = []
    table = pd.read_parquet(folder / "results/similarity.parquet")
    ours = table[(table.relation == "control") & (table.estimator == "cka-linear")]
    for task in context.tasks:
        control = f"control-{task}-seed0"
        found: dict[str, torch.Tensor] = {}
        for name in ("pretrained", "sft", control):
            busy = time.process_time()
            model = base()
            if name != "pretrained":
                model = PeftModel.from_pretrained(model, str(folder / "units/train" / name / "adapter"))
            with torch.no_grad():
                found[name] = authors(model, context.encoded(task, "test", True))
            timed("extraction", busy)
        for name in ("pretrained", "sft"):
            busy = time.process_time()
            values = [cka(found[name][:, layer], found[control][:, layer]) for layer in range(found[name].shape[1])]
            timed("similarity", busy)
            rows = ours[(ours.task == task) & (ours.experimental == name)].sort_values("layer")
            gaps += [abs(one - other) for one, other in zip(values, rows["value"], strict=True)]
    print(json.dumps({"seconds": time.perf_counter() - start, **spent, "largest_gap": max(gaps)}))


if __name__ == "__main__":
    main()
