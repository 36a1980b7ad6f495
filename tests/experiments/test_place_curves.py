"""What first and last layers of a model are worth is measured task by task, once, and ranked against readings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.place.grafts import against_grafts, compute_curves


def test_curves_are_measured_once_and_the_first_task_of_each_cluster_comes_first(
    finished: tuple[Path, Any], tmp_path: Path
) -> None:
    run = shutil.copytree(finished[0] / "runs" / "small", tmp_path / "small")
    tasks = pd.read_parquet(run / "results" / "tasks.parquet")
    done = compute_curves(run)
    first = [next(done), next(done)]
    assert set(tasks.set_index("task").loc[first, "cluster"]) == set(tasks["cluster"])
    rest = list(compute_curves(run))  # another process, later
    assert sorted(first + rest) == sorted(tasks["task"])
    assert list(compute_curves(run)) == []
    place = pd.read_parquet(run / "results" / "place.parquet")
    gained = place[(place["experimental"] == "sft") & place["reading"].eq("first-k")].groupby("task")["value"].count()
    said = against_grafts(run)
    assert said.startswith(f"{(gained > 0).sum()} of {len(tasks)} tasks")
    assert "| leave-window-out | add-window-in |" in said and "shapley" not in said
    answer = next(compute_curves(run, answers=True))
    gains = [pd.read_parquet(run / folder / f"{answer}.parquet") for folder in ("curves", "answer-curves")]
    with_end, without = (table[table["reading"].eq("first-k")]["value"].sum() for table in gains)
    assert with_end != without  # nats per token, of other tokens
