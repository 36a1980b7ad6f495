"""Tunes TinyFLAN's bases on three tasks, and keeps what base and tuned models answer on all planted skills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from experiments.place.planting import Group, planted
from experiments.tinyflan.documents import natural_example
from mossa.models.base import LoadedBase, load_base
from mossa.models.prompts import Encoded, PromptFormat, make_format
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from mossa.tasks.tinyflan import load_tasks
from mossa.tinyflan import base_folder
from mossa.tinyflan.bases import taught_tasks
from mossa.tinyflan.catalogue import specification, specifications
from mossa.training.loss import token_losses

BASES, DRAWS, DOSES, TUNED_ON = ("a", "b"), (0, 1), (30, 90), 3
SAMPLES, EACH = 4, 100  # samples of each skill, and examples in each
PATIENCE = 20_000  # draws without a new text mean that there are no more
NEVER = 2.0  # no share of right answers ends a training early


@dataclass(frozen=True, slots=True)
class Case:
    """A base tuned on three tasks that it was not given; `again`: with another seed."""

    base: str
    draw: int
    steps: int
    again: bool = False

    @property
    def name(self) -> str:
        """Return what the case's file is called."""
        return f"{self.base}-{self.draw}-{self.steps}{'-again' * self.again}"


def cases() -> list[Case]:
    """Return the eight models, and of the long dose the first of each base again."""
    first = [Case(base, draw, steps) for base, draw, steps in product(BASES, DRAWS, DOSES)]
    return first + [Case(base, DRAWS[0], max(DOSES), again=True) for base in BASES]


def answer_all(runs: Path, say: Callable[[str], None]) -> None:
    """Write the answers of both bases and of every tuned model to `runs`; what is there already is kept."""
    runs.mkdir(parents=True, exist_ok=True)
    for name in BASES:
        base = load_base(Base(model=str(base_folder(name))))
        form = make_format(base.tokenizer, Prompt(template="{prompt}"), base.longest)
        skills = {skill: form.encode(texts(skill), skill, with_target=True) for skill in sorted(taught_tasks(name))}
        _keep(runs / f"{name}.parquet", lambda: answers(base, base.model, skills), say)  # noqa: B023
        for case in (case for case in cases() if case.base == name):
            _keep(runs / f"{case.name}.parquet", lambda: _tuned(base, form, case, skills), say)  # noqa: B023


def texts(skill: str) -> list[Example]:
    """Return natural texts of a skill that pre-training never used, each once, as many as the trial asks for."""
    rng, found, idle = Random(f"forgetting {skill}"), dict[str, Example](), 0
    while len(found) < SAMPLES * EACH and idle < PATIENCE:
        drawn = natural_example(specification(skill), rng, "test")
        idle = idle + 1 if drawn.prompt in found else 0
        found.setdefault(drawn.prompt, drawn)
    return list(found.values())


def tuned_on(case: Case) -> list[str]:
    """Return the tasks that a case is tuned on: three that its base was not given."""
    others = sorted(set(specifications()) - set(taught_tasks(case.base)))
    return sorted(Random(f"forgetting {case.base} {case.draw}").sample(others, TUNED_ON))


def answers(base: LoadedBase, model: Any, skills: dict[str, list[Encoded]]) -> pd.DataFrame:
    """Return `task`, `example`, `tokens`, `loss` and `exact` of every example."""
    parts: list[pd.DataFrame] = []
    for skill, encoded in skills.items():
        losses, exact = token_losses(model, encoded, base.device)
        tokens = [len(each.tokens) - each.prompt_length for each in encoded]
        columns = {"example": range(len(encoded)), "tokens": tokens, "loss": losses, "exact": exact}
        parts.append(pd.DataFrame(columns).assign(task=skill))
    return pd.concat(parts, ignore_index=True)


def paired(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the answers before and after in the samples of the trial, as `judge` takes them."""
    both = before.merge(after, on=["task", "example", "tokens"], suffixes=("_before", "_after"), validate="1:1")
    both = both.assign(model="tuned", cluster="all")
    for sample in range(SAMPLES):
        yield both[both["example"] % SAMPLES == sample]


def exchanged(pair: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the pair with before and after exchanged in every example that a coin chooses."""
    swap = rng.random(len(pair)) < 0.5
    found = pair.copy()
    for what in ("loss", "exact"):
        one, other = f"{what}_before", f"{what}_after"
        found[one] = np.where(swap, pair[other], pair[one])
        found[other] = np.where(swap, pair[one], pair[other])
    return found


def _tuned(base: LoadedBase, form: PromptFormat, case: Case, skills: dict[str, list[Encoded]]) -> pd.DataFrame:
    layers = tuple(range(1, base.layers + 1))
    groups = [
        Group(
            form.encode(task.train, task.name, with_target=True),
            form.encode(task.validation, task.name, with_target=True),
            layers,
        )
        for task in load_tasks(tuned_on(case), train=300, validation=20, test=4)
    ]
    seed = case.draw + 100 * case.again
    with planted(base, groups, case.steps, seed, until=NEVER) as (adapted, _steps):
        return answers(base, adapted, skills)


def _keep(path: Path, make: Callable[[], pd.DataFrame], say: Callable[[str], None]) -> None:
    if not path.exists():
        table = make()
        table.to_parquet(path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        say(f"{path.stem}: {table['exact'].mean():.3f} of the planted skills' texts answered exactly")
