"""The advice on trial: one small study per choice of layers, on tasks that the map never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.advice.arms import ADVISED, MINIMUM_TASKS, RANDOM, against, arms
from experiments.advice.layers import Advice, spans
from experiments.advice.text import outcome_markdown
from mossa.errors import StudyError
from mossa.models.shape import shape_of
from mossa.run.run import Finished, Prepared, prepare
from mossa.store.folder import RunFolder
from mossa.study.recipe import Budget, Lora
from mossa.study.schema import BASE, Control, Experimental, StudySettings
from mossa.units.models import control_name

SEEDS = (0, 1, 2)
STEPS = ("train", "evaluate")
DESCRIBED = ("layers", "rank", "weights")


@dataclass(frozen=True, slots=True)
class Arm:
    """One choice of layers on trial: `rival` is what it is compared as, `weights` how many are trained."""

    rival: str
    lora: Lora
    layers: tuple[int, ...]
    weights: int
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Return what names its run folder: draws of random layers have one each."""
        return f"{self.rival}-{self.seeds[0]}" if self.rival == RANDOM else self.rival


@dataclass(frozen=True, slots=True)
class Trial:
    """The arms ready to run, by name; `same` are the rivals that would train the advised layers themselves."""

    arms: dict[str, Arm]
    prepared: dict[str, Prepared]
    same: tuple[str, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the trial showed: one row per training, per arm, and per comparison with the advice."""

    steps: int
    trainings: pd.DataFrame
    arms: pd.DataFrame
    against: pd.DataFrame


def prepare_trial(study: StudySettings, advice: Advice, tables: Mapping[str, pd.DataFrame], runs: Path) -> Trial:
    """Return the studies that test the advice, ready to run, each in a folder of its own beside the study's.

    Raises `StudyError` if there is no advice to test, fewer than three tasks were held out of the map, or it is not
    known how many steps a control takes.
    """
    if not advice.layers:
        raise StudyError(f"There is no advice to test. {advice.reason}")
    if len(advice.held_out) < MINIMUM_TASKS:
        raise StudyError(
            f"experimental.{advice.model}: {len(advice.held_out)} tasks are held out of its map, and a test on new "
            f"tasks needs at least {MINIMUM_TASKS}. Add a model with hold_out: [...], or choose one with --model."
        )
    steps = _steps(study, advice, tables)
    chosen, same = _arms(study, advice)
    prepared = {name: prepare(_on_trial(study, advice, arm, steps), runs, STEPS) for name, arm in chosen.items()}
    return Trial(chosen, prepared, same, steps)


def trainings(trial: Trial, finished: Mapping[str, Finished]) -> pd.DataFrame:
    """Return one row per (arm, task, seed) with the loss and exact match on the test set; `base` has no seed."""
    rows: list[pd.DataFrame] = []
    for name, arm in trial.arms.items():
        evaluation = (finished[name].tables or {}).get("evaluation", pd.DataFrame(columns=["model", "task"]))
        for seed in arm.seeds:
            own = evaluation[
                evaluation["model"].isin([control_name(task, seed) for task in evaluation["task"].unique()])
            ]
            rows.append(own.assign(arm=arm.rival, seed=seed, layers=spans(arm.layers)))
        if name == ADVISED:
            base = evaluation[evaluation["model"].eq(BASE)]
            rows.append(base.assign(arm="base", seed=0, layers=""))
    columns = ["arm", "task", "cluster", "seed", "layers", "loss", "accuracy", "n"]
    return pd.concat([part.reindex(columns=columns) for part in rows], ignore_index=True)


def judge_trial(trial: Trial, finished: Mapping[str, Finished]) -> Outcome:
    """Put the arms beside each other."""
    trained = trainings(trial, finished)
    table = arms(trained).merge(_described(trial), on="arm", how="left").fillna(dict.fromkeys(DESCRIBED, ""))
    return Outcome(trial.steps, trained, table, against(trained, trial.same))


def write_outcome(outcome: Outcome, run: RunFolder) -> Path:
    """Write the outcome into the `advice/` of the study's run folder, as tables and Markdown; return the latter."""
    folder = run.path / "advice"
    with run.writing():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("trainings", "arms", "against"):
            getattr(outcome, name).to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        page = folder / "validation.md"
        run.write(page, outcome_markdown(outcome.arms, outcome.against, outcome.steps))
    return page


def draw_layers(depth: int, count: int, advised: tuple[int, ...], seeds: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return `count` of the layers 1..`depth` for each seed: never the advised, and no set twice if there are enough.

    Raises `StudyError` if there are no others at all.
    """
    drawn: list[tuple[int, ...]] = []
    others = math.comb(depth, count) - 1
    if not others:
        raise StudyError(f"{count} of {depth} layers are all there are, so there are no others to compare them with.")
    for seed in seeds:
        rng = np.random.default_rng([seed, depth, count])
        while True:
            found = tuple(sorted((rng.permutation(depth)[:count] + 1).tolist()))
            if found != advised and (found not in drawn or len(set(drawn)) == others):
                drawn.append(found)
                break
    return drawn


def _arms(study: StudySettings, advice: Advice) -> tuple[dict[str, Arm], tuple[str, ...]]:
    """Return the arms by name, and which rivals are the advised layers under another name."""
    advised, depth, count = advice.layers, advice.depth, len(advice.layers)
    # The advised layers get the recipe's rank, which is what is advised; the others as much as that takes.
    budget = _weights_per_rank(study, advised) * study.recipe.lora.rank
    chosen = {"all": tuple(range(1, depth + 1)), "first": tuple(range(1, count + 1))}
    chosen["last"] = tuple(range(depth - count + 1, depth + 1))
    same = tuple(rival for rival, layers in chosen.items() if layers == advised)
    found = [_arm(study, ADVISED, advised, budget, SEEDS)]
    for seed, layers in zip(SEEDS, draw_layers(depth, count, advised, SEEDS), strict=True):
        found.append(_arm(study, RANDOM, layers, budget, (seed,)))
    found += [_arm(study, rival, layers, budget, SEEDS) for rival, layers in chosen.items() if rival not in same]
    return {arm.name: arm for arm in found}, same


def _arm(study: StudySettings, rival: str, layers: tuple[int, ...], budget: int, seeds: tuple[int, ...]) -> Arm:
    """Return the arm on `layers` with the rank whose trained weights come nearest to `budget`."""
    lora, each = study.recipe.lora, _weights_per_rank(study, layers)
    rank = max(1, round(budget / each))
    # The scale of an update, alpha / rank, stays that of the recipe.
    settings = lora.model_copy(update={"layers": list(layers), "rank": rank, "alpha": lora.alpha / lora.rank * rank})
    return Arm(rival, settings, layers, each * rank, seeds)


def _described(trial: Trial) -> pd.DataFrame:
    """Return per arm its layers, rank and trained weights as text; the draws of random layers share a row."""
    columns = {
        "layers": [spans(arm.layers) for arm in trial.arms.values()],
        "rank": [str(arm.lora.rank) for arm in trial.arms.values()],
        "weights": [f"{arm.weights:,}" for arm in trial.arms.values()],
    }
    table = pd.DataFrame({"arm": [arm.rival for arm in trial.arms.values()], **columns})
    return table.groupby("arm", as_index=False).agg(lambda values: "; ".join(dict.fromkeys(values)))


def _weights_per_rank(study: StudySettings, layers: tuple[int, ...]) -> int:
    """Return the trained weights of an adapter of rank 1 on `layers`; they grow in proportion to the rank."""
    lora = study.recipe.lora.model_copy(update={"layers": list(layers), "rank": 1})
    return shape_of(study.base, lora).adapter_weights


def _steps(study: StudySettings, advice: Advice, tables: Mapping[str, pd.DataFrame]) -> int:
    """Return how many steps every arm takes: the budget of a control, else the median of those of the map's tasks."""
    budget = study.control.budget or study.recipe.budget
    if budget.steps is not None:
        return budget.steps
    adapters = tables.get("adapters", pd.DataFrame(columns=["role", "task", "steps"]))
    taken = adapters.loc[adapters["role"].eq("control") & adapters["task"].isin(advice.tasks), "steps"]
    if taken.empty:
        raise StudyError(
            "control.budget: every arm of the test takes equally many steps, and the study neither gives them nor has "
            "trained a control that would tell. Set control.budget: {steps: 100}."
        )
    return int(taken.median())


def _on_trial(study: StudySettings, advice: Advice, arm: Arm, steps: int) -> StudySettings:
    """Return the study that trains one arm on the held-out tasks and nothing else."""
    recipe = study.recipe.model_copy(update={"lora": arm.lora, "budget": Budget(steps=steps)})
    return study.model_copy(
        update={
            "name": f"{study.name}-advice-{arm.name}",
            "tasks": study.tasks.model_copy(update={"only": list(advice.held_out)}),
            "recipe": recipe,
            "control": Control(seeds=list(arm.seeds)),
            "experimental": {BASE: Experimental(base=True)},
        }
    )
