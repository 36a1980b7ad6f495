"""The trial of the method: the same study on bases of which it is known what they were taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.planted.readings import Trial, controls, excluded, readings, risen
from experiments.planted.verdicts import against_best_rival, crossed, levels, rises, verdicts
from mossa.errors import DataError
from mossa.run.run import Finished, Prepared, prepare
from mossa.study import load_study
from mossa.tinyflan.bases import taught_tasks

STUDY = Path(__file__).parent / "trial.yaml"
HALVES = ("a", "b")  # each task is planted in one of them
SEEDS = {"a": (0, 1, 2), "b": (0, 1, 2), "all": (0,), "random": (0,)}
LAYERS = (3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Outcome:
    """What the trial found, as tables; docs/explanation/tinyflan.md has the rules.

    `controls`: what every control learned; `excluded`: which are not read; `readings`: every value; `verdicts`: the
    tests; `crossed`: task by task; `rivals`: against the best rival; `experimental`: does E rise to the controls;
    `levels`: per base.
    """

    controls: pd.DataFrame
    excluded: pd.DataFrame
    readings: pd.DataFrame
    verdicts: pd.DataFrame
    crossed: pd.DataFrame
    rivals: pd.DataFrame
    experimental: pd.DataFrame
    levels: pd.DataFrame


def prepare_trial(bases: Sequence[str], overrides: Sequence[str], runs: Path) -> dict[str, Prepared]:
    """Return the study of every base, ready to run; `overrides` are given to all of them.

    Raises `MossaError` if there is no such base, a half is missing or an override is wrong.
    """
    for base in bases:
        taught_tasks(base)  # answers an unknown base with the choices
    if missing := [base for base in HALVES if base not in bases]:
        raise DataError(f"The trial compares the bases {' and '.join(HALVES)}; {missing[0]!r} is not among --bases.")
    prepared: dict[str, Prepared] = {}
    for base in bases:
        own = [f"name=trial-{base}", f"base.model=tinyflan:{base}", f"control.seeds={list(SEEDS[base])}"]
        own += [] if base in HALVES else ["experimental={pretrained: base}"]
        prepared[base] = prepare(load_study(STUDY, [*own, *overrides]), runs)
    return prepared


def judge_trial(finished: dict[str, Finished]) -> Outcome:
    """Hold what the runs of both halves, and of any other base, found against what was planted."""
    there = {name: {task.name for task in done.prepared.tasks} for name, done in finished.items()}
    trial = Trial(
        {base: done.tables or {} for base, done in finished.items()},
        {base: sorted(there[base] & set(taught_tasks(base))) for base in finished},
        LAYERS,
    )
    judged = controls(trial)
    table = readings(trial, judged)
    rose = risen(trial, judged)
    rose = rose[rose["layer"].isin(LAYERS)]
    compared = [
        {"base": base, "planted": side, **rises(part)} for (base, side), part in rose.groupby(["base", "planted"])
    ]
    not_planted = rose[rose["base"].isin(HALVES) & ~rose["planted"]]
    return Outcome(
        judged,
        excluded(judged, HALVES),
        table,
        verdicts(table, HALVES, LAYERS),
        crossed(table, HALVES, LAYERS),
        against_best_rival(table, HALVES, LAYERS),
        pd.DataFrame([{"base": "a and b", "planted": False, **rises(not_planted)}, *compared]),
        levels(table, LAYERS),
    )
