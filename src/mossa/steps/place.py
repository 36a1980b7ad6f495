"""The unit that reads where an experimental model acts on one task's prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mossa.models.base import load_base
from mossa.place import Stack, locate_update
from mossa.representations.represent import evaluation_mode
from mossa.steps.context import StepContext
from mossa.units.models import GRAFTED, PROMPTS
from mossa.units.unit import Unit


def place_task(unit: Unit, context: StepContext, folder: Path) -> dict[str, Any]:
    """Read one-layer change and answer gain on up to 128 test prompts of a task, and a graft on up to 32 of them."""
    name, task = unit.key.split("@")
    examples = context.encoded(task, "test", True)
    templates = [context.tasks[task].test[example.index].template for example in examples[:PROMPTS]]
    model = context.model(name)
    whole = context.is_checkpoint(name)  # then the base is not in memory
    base = load_base(context.study.base, context.device).model if whole else None
    with evaluation_mode(model):
        stack = Stack(base, model)
        change = locate_update(
            stack,
            examples[:PROMPTS],
            None if None in templates else templates,
            ["one-layer-change", "answer-gain"],
        )
        graft = locate_update(stack, examples[:GRAFTED], readings=["graft"])
    rows = pd.concat([change.table, graft.table], ignore_index=True)
    head = {"experimental": name, "task": task, "cluster": context.tasks[task].cluster}
    for place, (column, value) in enumerate({**head, "held_out": unit.settings["held_out"]}.items()):
        rows.insert(place, column, value)
    rows.to_parquet(folder / "place.parquet", index=False)
    return {"prompts": len(examples[:PROMPTS]), "skipped": len(context.tasks[task].test) - len(examples)}
