"""How cost grows with prompts, layers, width and tasks: processor seconds of the real steps, and the exponents.

    python benchmarks/growth.py [--json FILE] [--quick] [--samples K]

An exponent of 1 is linear, 2 quadratic; it is taken from the two largest sizes. Products of matrices cost width
squared, so 2 is what width should reach; below it is what a step costs whatever its size.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from contest import parser, write
from material import encode, llama, texts
from mossa.models.base import LoadedBase
from mossa.representations import represent_tokens
from mossa.similarity import compare
from mossa.study import load_study
from mossa.study.recipe import Budget
from mossa.tasks.collections import load_tasks
from mossa.training.train import train_adapter
from mossa.units.plan import plan
from training_worker import RECIPE

LONGEST = 128
PROMPTS, LAYERS, WIDTH = 128, 4, 128  # what the others are while one grows


def sizes(quick: bool) -> Iterator[tuple[str, int, tuple[int, int, int]]]:
    """Yield what grows, its size, and (prompts, layers, width)."""
    for times in (1, 2) if quick else (1, 2, 4):
        yield "prompts", PROMPTS * times, (PROMPTS * times, LAYERS, WIDTH)
        yield "layers", LAYERS * times, (PROMPTS, LAYERS * times, WIDTH)
        yield "width", WIDTH * times, (PROMPTS, LAYERS, WIDTH * times)


def steps(prompts: int, layers: int, width: int) -> dict[str, Callable[[], object]]:
    """Return one step of each kind on a model and data of these sizes; training does one epoch."""
    model = llama(width, layers, 1024, LONGEST)
    examples = encode(texts(None, prompts), 1024, LONGEST)
    base = LoadedBase(model, None, layers, width, LONGEST)
    random = np.random.default_rng(0)
    control, one, other = (random.normal(size=(prompts, layers, width)).astype("float32") for _ in range(3))

    def train() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train_adapter(base, examples, [], RECIPE, Budget(epochs=1), 0, Path(folder))

    return {
        "train": train,
        "represent": lambda: represent_tokens(model, [example.tokens for example in examples]),
        "compare": lambda: compare({"pretrained": one, "sft": other}, control),
    }


def busy(do: Callable[[], object], samples: int) -> float:
    """Return the median processor seconds of some calls after a first one."""
    do()
    spent: list[float] = []
    for _ in range(samples):
        start = time.process_time()
        do()
        spent.append(time.process_time() - start)
    return median(spent)


def units(affinity: bool) -> dict[int, float]:
    """Return how many units a study of so many tasks has; with `affinity` each pair of controls counts as one more."""
    study = load_study(Path("tinyflan"), ["experimental={pretrained: base, sft: {mixture: all}}"])
    study = study.model_copy(update={"similarity": study.similarity.model_copy(update={"affinity": affinity})})
    tasks = load_tasks(study.tasks)
    return {count: len(plan(study, tasks[:count])) + affinity * count * (count - 1) / 2 for count in (15, 30, 60)}


def exponent(found: dict[int, float]) -> float:
    """Return the slope between the two largest sizes, both logarithmic."""
    (small, low), (large, high) = sorted(found.items())[-2:]
    return math.log(high / low) / math.log(large / small)


def main() -> None:
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    seconds: dict[str, dict[int, float]] = {}
    for what, size, shape in sizes(given.quick):
        for step, do in steps(*shape).items():
            seconds.setdefault(f"{step} by {what}", {})[size] = busy(do, 1 if given.quick else given.samples)
    counts: dict[str, dict[int, float]] = {
        f"units by tasks{', affinity' if a else ''}": units(a) for a in (False, True)
    }
    for name, found in sorted((seconds | counts).items()):
        listed = ", ".join(f"{size}: {value:,.3g}" for size, value in found.items())
        print(f"{name:<28} exponent {exponent(found):4.2f}   ({listed})")
    write(given.json, seconds | counts)


if __name__ == "__main__":
    main()
