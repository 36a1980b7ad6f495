"""The unit that reads where an experimental model acts on one task's prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mossa.models.base import load_base
from mossa.place import Stack, locate_update
from mossa.representations.held import held_still
from mossa.steps.workbench import Workbench
from mossa.units.place import GRAFTED, PROMPTS
from mossa.units.unit import Unit


def place_task(unit: Unit, bench: Workbench, folder: Path) -> dict[str, Any]:
    """Read one-layer change and answer gain on up to 128 test prompts of a task, and a graft on up to 32 of them."""
    name, task = unit.key.split("@")
    examples = bench.encoded(task, "test", True)
    templates = [bench.tasks[task].test[example.index].template for example in examples[:PROMPTS]]
    model = bench.model(name)
    whole = bench.is_checkpoint(name)  # then the base is not in memory
    base = load_base(bench.study.base, bench.device).model if whole else None
    with held_still(model):
        stack = Stack(base, model)
        change = locate_update(
            stack,
            examples[:PROMPTS],
            None if None in templates else templates,
            ["one-layer-change", "answer-gain"],
        )
        graft = locate_update(stack, examples[:GRAFTED], readings=["graft"])
    rows = pd.concat([change.table, graft.table], ignore_index=True)
    head = {"experimental": name, "task": task, "cluster": bench.tasks[task].cluster}
    for place, (column, value) in enumerate({**head, "held_out": unit.settings["held_out"]}.items()):
        rows.insert(place, column, value)
    rows.to_parquet(folder / "place.parquet", index=False)
    return {"prompts": len(examples[:PROMPTS]), "skipped": len(bench.tasks[task].test) - len(examples)}
