"""Studies with something missing: each must still give the report that is possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import pandas as pd

from mossa.analysis import Findings, analyse
from tests.report.synthetic import rename, undefine, world

Tables = Mapping[str, pd.DataFrame]
SCRIPT = "<script>alert(1)</script>"


def without_pretrained() -> Tables:
    tables = world(tasks=9, layers=6, held_out=0)
    similarity = tables["similarity"]
    return {
        "similarity": similarity[similarity["experimental"].ne("pretrained")],
        "evaluation": tables["evaluation"][tables["evaluation"]["role"].ne("base")],
        "tasks": tables["tasks"],
    }


def only_the_base() -> Tables:
    tables = world(tasks=9, layers=6, held_out=0)
    similarity, evaluation = tables["similarity"], tables["evaluation"]
    return {
        "similarity": similarity[similarity["experimental"].eq("pretrained")],
        "evaluation": evaluation[evaluation["role"].ne("experimental")],
        "tasks": tables["tasks"],
    }


def all_undefined() -> Tables:
    tables = world(tasks=4, layers=5, held_out=0)
    everywhere = pd.Series(True, index=tables["similarity"].index)
    return {"similarity": undefine(tables["similarity"], everywhere, "the representations do not vary")}


def partly_undefined() -> Tables:
    tables = world(tasks=10, layers=6, held_out=0)
    some = tables["similarity"]["layer"].eq(1) | tables["similarity"]["task"].eq("task03")
    return {**tables, "similarity": undefine(tables["similarity"], some, "the representations do not vary")}


def failed_controls() -> Tables:
    return _failed(world(tasks=10, layers=6, held_out=0), {"task04"})


def failed_group(held_out: bool) -> Tables:
    """No control of the held-out tasks learned, or none of the others."""
    tables = world(tasks=9, layers=6)
    rows = tables["similarity"]
    unseen = set(rows.loc[rows["held_out"].astype(bool), "task"])
    return _failed(tables, unseen if held_out else set(rows["task"]) - unseen)


def _failed(tables: Tables, tasks: set[str]) -> Tables:
    evaluation = tables["evaluation"].copy()
    evaluation.loc[evaluation["model"].str.startswith(tuple(f"control-{task}" for task in tasks)), "loss"] = 5.0
    return {**tables, "evaluation": evaluation}


INCOMPLETE: dict[str, Callable[[], Tables]] = {
    "one task": lambda: world(tasks=1, layers=6, held_out=0),
    "one layer": lambda: world(tasks=9, layers=1, held_out=0),
    "only similarities": lambda: {"similarity": world(tasks=9, layers=6)["similarity"]},
    "no pretrained": without_pretrained,
    "only the base": only_the_base,
    "all undefined": all_undefined,
    "partly undefined": partly_undefined,
    "failed controls": failed_controls,
    "failed controls of all held-out tasks": lambda: failed_group(held_out=True),
    "failed controls of all seen tasks": lambda: failed_group(held_out=False),
    "names that are HTML": lambda: rename(world(tasks=9, layers=6), "task03", SCRIPT),
}


@cache
def studied(name: str) -> tuple[Tables, Findings]:
    """Return the tables of an odd study and what the analysis makes of them; both are only read."""
    tables = INCOMPLETE[name]()
    return tables, analyse(tables)
