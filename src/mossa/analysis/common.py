"""Which tasks models may be compared on: those that every tuned model was tuned on, and those held out of one."""

from __future__ import annotations

import pandas as pd

from mossa.analysis.change import COLUMNS as CHANGE_COLUMNS
from mossa.analysis.change import change
from mossa.analysis.curves import populations

TUNED = "tuned"
HELD_OUT = "held out of "
COLUMNS = ["group", *(name for name in CHANGE_COLUMNS if name != "population")]


def common_tasks(curves: pd.DataFrame, baseline: str) -> dict[str, list[str]]:
    """Return the tasks of every group: `tuned` (all tuned models saw them), and those held out of one or more models.

    Medians over different tasks cannot be compared, so each group holds one set of tasks for every model.
    """
    own = curves[(curves["relation"] == "control") & (curves["experimental"] != baseline)]
    models = list(own["experimental"].unique())
    parts = {model: populations(curves, model) for model in models}
    seen = [set(part.get("seen", [] if "held_out" in part else part["all"])) for part in parts.values()]
    found = {TUNED: sorted(set.intersection(*seen))} if seen else {}
    for model, part in parts.items():
        tasks = sorted(part.get("held_out", []))
        same = next((name for name, others in found.items() if name != TUNED and others == tasks), None)
        if same:
            found[f"{same} and {model}"] = found.pop(same)
        elif tasks:
            found[f"{HELD_OUT}{model}"] = tasks
    return {name: tasks for name, tasks in found.items() if tasks}


def common_change(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the paired differences of every model on the same tasks, group by group; see `COLUMNS`."""
    tables = [
        change(curves[curves["task"].isin(tasks)].assign(held_out=False), baseline).assign(group=name)
        for name, tasks in common_tasks(curves, baseline).items()
    ]
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)
