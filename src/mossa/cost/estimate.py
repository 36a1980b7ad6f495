"""Puts work, rates, memory and schedule together for a study and for smaller ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from mossa.cost.gpus import GPUS, Gpu, found_gpu, named_gpu
from mossa.cost.memory import Need, need
from mossa.cost.rates import Rates, from_here, from_peak, from_units
from mossa.cost.timings import Sample
from mossa.cost.tokenized import Tokenized
from mossa.cost.work import Counter, Work
from mossa.errors import MossaError
from mossa.models.base import load_config, load_tokenizer, longest_input
from mossa.models.prompts import make_format
from mossa.models.shape import Shape, shape_of
from mossa.run.engines.registry import choose_devices
from mossa.run.run import Prepared
from mossa.run.worker import threads_limited
from mossa.study.recipe import Budget
from mossa.study.schema import StudySettings
from mossa.tasks.task import Task
from mossa.training.activations import free_memory
from mossa.units.plan import plan
from mossa.units.unit import Unit


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a study will cost: the work of every unit, the seconds it takes, memory; `gpu` is None for this CPU.

    `unknown` are the steps whose time is not known and not in the seconds.
    """

    units: dict[str, Unit]
    works: Mapping[str, Work]
    seconds: Mapping[str, float]
    todo: list[str]
    shape: Shape
    rates: Rates
    need: Need
    gpu: Gpu | None
    smaller: list[tuple[str, float]]

    @property
    def unknown(self) -> list[str]:
        """Return the steps without a rate."""
        steps = dict.fromkeys(unit.step for unit in self.units.values())
        return [step for step in steps if step not in self.rates.per_second]

    def bytes(self) -> int:
        """Return what the run folder will hold, without tables and report."""
        return sum(work.bytes for work in self.works.values())


def estimate(
    prepared: Prepared, gpu: str | None = None, utilisation: float = 0.35, clock: str = "seconds"
) -> CostEstimate:
    """Return what the study will cost on a named GPU, the one that is found, or this machine's CPU.

    Rates come from this study's finished units where there are any on this machine and no GPU is named; `clock` is the
    key of their time in the manifests, `seconds` of the wall or `processor_seconds`. Raises
    `MossaError` if the base cannot be read or the GPU is not known.
    """
    name = gpu.lower() if gpu else found_gpu()
    chosen = named_gpu(name) if name else None
    study = prepared.study
    tokenizer = load_tokenizer(study.base)
    form = make_format(tokenizer, study.prompt, longest_input(load_config(study.base), tokenizer), prepared.rendering)
    shape = shape_of(study.base, study.recipe.lora)
    memory = (1e9 * chosen.memory if chosen else free_memory(torch.device("cpu"))) - shape.weight_bytes
    scored, device = _scored(prepared.units), "cuda" if chosen else "cpu"
    counter = Counter(study, prepared.tasks, Tokenized(form), shape, device, memory, scored)
    shown = track(prepared.units.items(), "Counting tokens", console=Console(stderr=True), transient=True)
    works = {name: counter.work(unit) for name, unit in shown}
    sample = Sample.of(study, prepared.units, shape.layers, shape.width, len(prepared.tasks))
    threads = 1 if chosen else choose_devices(study, "cpu", None)[1]
    rates = None
    if gpu is None:
        done = {name for name, status in prepared.status.items() if status.state == "done"}
        with threads_limited(threads):
            rates = from_units(prepared.run, prepared.units, works, done, sample, clock)
    if rates is None:
        with threads_limited(threads):
            dtype = study.base.dtype
            rates = (
                from_peak(chosen, dtype, utilisation, str(name), sample, study.represented_in)
                if chosen
                else from_here(sample, dtype)
            )
    seconds = rates.of(prepared.units, works)
    smaller: list[tuple[str, float]] = []
    for label, other, tasks in _smaller(study, prepared.tasks):
        try:
            units = plan(other, tasks)
        except MossaError:  # its mixture names a task that this variant leaves out
            continue
        counted = replace(counter, study=other, tasks=tasks, scored=_scored(units))
        found = {name: counted.work(unit) for name, unit in units.items()}
        smaller.append((label, sum(rates.of(units, found).values())))
    needed = need(study, shape, prepared.units, works, chosen is not None)
    return CostEstimate(prepared.units, works, seconds, prepared.todo, shape, rates, needed, chosen, smaller)


def fitting_gpus(estimate: CostEstimate) -> list[str]:
    """Return the GPUs of the table whose memory holds what the study needs, smallest first."""
    fitting = [name for name, gpu in GPUS.items() if gpu.memory * 1e9 * 0.95 > estimate.need.device_least]
    return sorted(fitting, key=lambda name: GPUS[name].memory)


def _scored(units: Mapping[str, Unit]) -> set[str]:
    """Return the ids of the units whose pass also gives the losses that another unit is done after."""
    return {unit.after for unit in units.values() if unit.after}


def _smaller(study: StudySettings, tasks: Sequence[Task]) -> Iterator[tuple[str, StudySettings, list[Task]]]:
    """Yield studies that ask the same for less: what is changed, the study, its tasks."""
    own = list(tasks)
    if len(study.control.seeds) > 1:
        existing = {task: models[:1] for task, models in study.control.existing.items()}
        one = study.control.model_copy(update={"seeds": study.control.seeds[:1], "existing": existing})
        yield "control.seeds: one (no agreement of two controls)", study.model_copy(update={"control": one}), own
    yield (
        f"tasks.test: {study.tasks.test // 2}",
        study,
        [replace(task, test=task.test[: study.tasks.test // 2]) for task in own],
    )
    yield "budgets: half", _half_budgets(study), own
    if study.similarity.other_controls:
        none = study.similarity.model_copy(update={"other_controls": 0})
        yield "similarity.other_controls: 0", study.model_copy(update={"similarity": none}), own
    if len(own) > 3:
        yield "tasks.only: every second task", study, own[::2]


def _half_budgets(study: StudySettings) -> StudySettings:
    def half(budget: Budget | None) -> Budget | None:
        if budget is None or budget.until is not None:
            return budget
        changes: dict[str, Any] = {}
        if budget.epochs is not None:
            changes["epochs"] = budget.epochs / 2
        for kind in ("steps", "target_tokens"):
            if (value := getattr(budget, kind)) is not None:
                changes[kind] = max(1, value // 2)
        return budget.model_copy(update=changes)

    return study.model_copy(
        update={
            "recipe": study.recipe.model_copy(update={"budget": half(study.recipe.budget)}),
            "control": study.control.model_copy(update={"budget": half(study.control.budget)}),
            "experimental": {
                name: model.model_copy(update={"budget": half(model.budget)})
                for name, model in study.experimental.items()
            },
        }
    )
