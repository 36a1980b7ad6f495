"""How fast work is done: from published peaks, from units that are done, or measured here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mossa.pipeline.cost.gpus import Gpu
from mossa.pipeline.cost.work import Work
from mossa.pipeline.store import RunFolder
from mossa.pipeline.unit import Unit

MOST_POINTS = 1000  # in the projection that is timed
MODEL_STEPS = ("train", "represent", "evaluate", "common")


@dataclass(frozen=True, slots=True)
class Rates:
    """Work per second of each step; a step that is not among them takes time that is not known."""

    per_second: Mapping[str, float]
    source: str

    def seconds(self, step: str, work: Work) -> float:
        """Return how long the work of one unit takes; 0 for a step without a rate."""
        rate = self.per_second.get(step)
        return amount(step, work) / rate if rate else 0.0


def amount(step: str, work: Work) -> float:
    """Return what a step's time grows with: operations, products, points, or 1 for what is always short."""
    if step in MODEL_STEPS:
        return work.operations
    return {"compare": work.products, "affinity": work.products, "overview": float(work.points)}.get(step, 1.0)


def from_peak(gpu: Gpu, dtype: str, utilisation: float, name: str, points: int) -> Rates:
    """Return the rates of a GPU at a stated share of its published peak."""
    rate = gpu.peak(dtype) * utilisation
    stated = f"{utilisation:.0%} of the {gpu.peak(dtype) / 1e12:,.0f} Tflop/s ({dtype}) that are published for {name}"
    return Rates(dict.fromkeys(MODEL_STEPS, rate) | _on_the_cpu(points), stated)


def from_here(points: int) -> Rates:
    """Return the rates of this machine's CPU, as a matrix product runs on it now."""
    cpu = _on_the_cpu(points)
    rate = cpu["compare"]
    rates: dict[str, float] = dict.fromkeys(MODEL_STEPS, rate) | cpu
    return Rates(rates, f"a matrix product on this CPU, measured just now: {rate / 1e9:,.0f} Gflop/s; no calibration")


def from_units(
    run: RunFolder,
    units: Mapping[str, Unit],
    works: Mapping[str, Work],
    done: set[str],
    points: int,
    key: str = "seconds",
) -> Rates | None:
    """Return the rates at which finished units were done, None if there are none that ran a model.

    `key` is the manifest's clock: `seconds` of the wall, or `processor_seconds`.
    """
    spent: dict[str, float] = {}
    finished: dict[str, float] = {}
    count = 0
    for name in done:
        seconds = (run.manifest(name) or {}).get(key)
        if seconds:
            step = units[name].step
            spent[step] = spent.get(step, 0.0) + float(seconds)
            finished[step] = finished.get(step, 0.0) + amount(step, works[name])
            count += 1
    rates = {step: finished[step] / spent[step] for step in spent if finished[step] > 0}
    if "train" not in rates and "represent" not in rates:
        return None
    forward = rates.get("represent") or rates.get("evaluate") or rates["train"]
    missing = {} if {"compare", "overview"} <= rates.keys() else _on_the_cpu(points)
    filled: dict[str, float] = dict.fromkeys(MODEL_STEPS, forward) | missing | rates
    filled.setdefault("affinity", filled["compare"])
    return Rates(filled, f"{count} finished unit{'s' if count > 1 else ''} of this study")


def _on_the_cpu(points: int) -> dict[str, float]:
    """Return the rates of what runs on the CPU in any case: similarities, and projections of this many points."""
    from mossa.analysis import projection

    arrays = {"task": np.random.default_rng(0).standard_normal((max(8, min(points, MOST_POINTS)), 1, 64))}
    start = time.perf_counter()
    projection(arrays, {"task": "cluster"}, [1], "model", per_task=len(arrays["task"]))
    rate = len(arrays["task"]) / (time.perf_counter() - start)
    products = _products_per_second()
    return {"compare": products, "affinity": products, "overview": rate}


def _products_per_second(size: int = 1024) -> float:
    """Return the operations per second of a float32 matrix product by NumPy: the best of a few."""
    matrix: np.ndarray[Any, Any] = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    best = min(_timed(matrix) for _ in range(4))
    return 2.0 * size**3 / best


def _timed(matrix: np.ndarray[Any, Any]) -> float:
    start = time.perf_counter()
    _ = matrix @ matrix
    return time.perf_counter() - start
