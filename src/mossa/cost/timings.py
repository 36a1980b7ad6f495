"""How fast this machine does the work that always runs on the processor, measured with the functions of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mossa.cost.work import compared_products
from mossa.steps.steps import PROJECTED_PROMPTS
from mossa.study.schema import BASE, StudySettings
from mossa.units.plan import PROJECTED_DEPTHS
from mossa.units.unit import Unit

MOST_TASKS, MOST_PROMPTS, MOST_WIDTH = 25, 1000, 2048  # of what is measured; larger studies are scaled up from it
CLOCKS: dict[str, Callable[[], float]] = {"seconds": time.perf_counter, "processor_seconds": time.process_time}


@dataclass(frozen=True, slots=True)
class Sample:
    """What a study compares at each layer of a task: models with `references`, and the spectra of how many models."""

    tasks: int
    layers: int
    prompts: int
    width: int
    references: int
    models: int
    spectra: int
    shift: bool

    @classmethod
    def of(cls, study: StudySettings, units: Mapping[str, Unit], layers: int, width: int, tasks: int) -> Sample:
        """Return the sizes of the first comparison of the study."""
        settings = next(unit.settings for unit in units.values() if unit.step == "compare")
        models, controls = len(settings["experimental"]), len(settings["controls"])
        references, shift = controls + len(settings["others"]), settings["similarity"]["shift"]
        return cls(tasks, layers, study.tasks.test, width, references, models, 1 + models + controls, shift)


def on_the_processor(sample: Sample, clock: str) -> dict[str, float]:
    """Return products per second of comparisons, and points per second of overviews."""
    products = _comparison(sample, clock)
    return {"compare": products, "affinity": products, "overview": _overview(sample, clock)}


def products_per_second(dtype: str) -> float:
    """Return the operations per second of a matrix product in `dtype`: the best of a few."""
    import torch

    size = 1024
    matrix = torch.ones(size, size, dtype=getattr(torch, dtype))
    return 2.0 * size**3 / min(_timed(lambda: matrix @ matrix, "seconds") for _ in range(4))


def _comparison(sample: Sample, clock: str) -> float:
    from mossa.similarity import spectrum
    from mossa.similarity.compare import compare_several

    n, d = max(8, min(sample.prompts, MOST_PROMPTS)), min(sample.width, MOST_WIDTH)
    random = np.random.default_rng(0)
    models = (BASE, *map(str, range(sample.models - 1)))
    references = [f"control{number}" for number in range(sample.references)]
    arrays = {name: random.standard_normal((n, 1, d), dtype=np.float32) for name in (*models, *references)}
    questions = [(reference, models) for reference in references]
    estimators = ["cka-linear", "cka-linear-debiased", "shift-cka-linear", "shift-cka-linear-debiased"]
    estimators = estimators if sample.shift else estimators[:2]

    def do() -> None:
        compare_several(arrays, questions, estimators, origin=BASE, baseline=BASE, non_finite="drop")

    seconds = _timed(do, clock) + sample.spectra * _timed(lambda: spectrum(arrays[BASE]), clock)
    pairs = len(references) * len(models)
    return (1 + sample.shift) * compared_products(n, d, len(arrays) - 1, pairs) / seconds


def _overview(sample: Sample, clock: str) -> float:
    from mossa.analysis import projection, separability

    random = np.random.default_rng(0)
    tasks = min(sample.tasks, MOST_TASKS)
    shown = max(4, min(sample.prompts, PROJECTED_PROMPTS))
    arrays: dict[str, np.ndarray[Any, Any]] = {
        f"task{number}": random.standard_normal((shown, sample.layers, 64), dtype=np.float32) for number in range(tasks)
    }
    clusters = {task: f"cluster{number // 5}" for number, task in enumerate(arrays)}
    one = _timed(lambda: projection(arrays, clusters, [1], "model", per_task=shown), clock)
    rest = _timed(lambda: separability(arrays, clusters, "model", None), clock)
    depths = min(len(PROJECTED_DEPTHS), sample.layers)
    return depths * tasks * shown / (depths * one + rest)


def _timed(do: Callable[[], object], clock: str) -> float:
    """Return the time that `do` takes, after one run to warm up."""
    do()
    start = CLOCKS[clock]()
    do()
    return max(CLOCKS[clock]() - start, 1e-9)
