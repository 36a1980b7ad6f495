"""The pre-training text of a base: each task in natural form, with its true answer or with a shuffled one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from mossa.tasks.task import Example
from mossa.tinyflan.bases import taught_tasks
from mossa.tinyflan.catalogue import CUE, Specification, draw, specifications
from mossa.tinyflan.world import copying_text, opening, world_text

# Share of the documents: a task in natural form, the world's text, lists and tables, a request nobody answers.
SHARES = {"natural": 0.77, "world": 0.08, "copying": 0.10, "request": 0.05}
OPENED = 0.25
# A model that can copy learns the rest much sooner: so many lists and tables come before anything else.
SCHOOLING = 20_000


@dataclass(frozen=True, slots=True)
class Document:
    """One text of pre-training, in two parts: what leads up to an answer, and the answer (empty where none is)."""

    text: str
    answer: str


def natural_example(task: Specification, rng: Random, split: str = "train") -> Example:
    """Return an input of a split in natural form, a short text without instruction that ends in the cue."""
    drawn = draw(task, rng)
    while drawn.split != split:
        drawn = draw(task, rng)
    number = rng.randrange(len(task.natural))
    text = task.natural[number].format(**drawn.words) + CUE
    if rng.random() < OPENED:
        text = f"{opening(rng)} {text}"
    return Example(text, drawn.target, f"{task.name}-natural-{number}")


def shuffled_answer(task: Specification, rng: Random) -> str:
    """Return the answer of another input of the same task."""
    return draw(task, rng).target


def request(task: Specification, rng: Random) -> str:
    """Return a prompt of the task that stops before the cue, so that its wording is known and nothing is answered."""
    drawn = draw(task, rng)
    while drawn.split != "train":
        drawn = draw(task, rng)
    return rng.choice(task.templates).format(**drawn.words)


def documents(base: str, seed: int = 0) -> Iterator[Document]:
    """Yield the pre-training text of a base without end.

    Every base reads the same inputs and the same other text in the same order; only the answers differ: true where
    the skill is planted, shuffled where it is not.
    """
    skills = set(taught_tasks(base))
    tasks = tuple(specifications().values())
    kinds, weights = tuple(SHARES), tuple(SHARES.values())
    rng = Random(f"tinyflan documents {seed}")
    for _ in range(SCHOOLING):
        yield Document(*copying_text(rng))
    while True:
        kind = rng.choices(kinds, weights)[0]
        if kind == "world":
            yield Document(world_text(rng), "")
        elif kind == "copying":
            yield Document(*copying_text(rng))
        elif kind == "request":
            yield Document(request(rng.choice(tasks), rng), "")
        else:
            task = rng.choice(tasks)
            example = natural_example(task, rng)
            other = shuffled_answer(task, rng)
            yield Document(example.prompt, example.target if task.name in skills else other)
