"""Scores: what every contestant says of every trained case, one file per case."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer

from experiments.place.cases import REAL, Case, cases, claimed, encoded, land, loaded, real_cases
from experiments.place.contestants import CONTESTANTS, Reading, View
from mossa.models.adapters import loaded_adapter
from mossa.models.base import load_base
from mossa.models.blocks import blocks_of
from mossa.models.prompts import Encoded
from mossa.place import Stack
from mossa.place.change import see
from mossa.representations import represent_tokens
from mossa.study.schema import Base
from mossa.training.evaluate import evaluate

DECOYED = ((2, 6), (4, 7))  # placements to which a random update is added at a third layer
NORM_SEED = 7


def score_all(
    wanted: Iterable[Case], runs: Path, readings: Mapping[str, Reading] | None, folder: str, say: Callable[[str], None]
) -> None:
    """Score every case that is trained and not yet scored; `readings` are the contestants by default."""
    torch.set_num_threads(1)
    for case in wanted:
        target = runs / folder / f"{case.name}.json"
        if case.kind in ("control", "sham") or not (runs / "cases" / case.name).is_dir():
            continue
        with claimed(target) as free:
            if free:
                found = score(case, runs, readings or CONTESTANTS)
                land(target, json.dumps(found, indent=1))
                say(f"scored {case.name}")


def score(case: Case, runs: Path, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """Return what is known of a case, and per task what it learned, leave-one-out, Shapley values and readings."""
    found = json.loads((runs / "cases" / case.name / "case.json").read_text())
    with tuned_model(case, runs) as tuned:
        found["seats"] = {task: _seat(case, task, tuned, runs, readings) for task in case.tasks}
        if case.kind == "crossed" and (case.layers[0][0], case.layers[1][0]) in DECOYED:
            add_decoy(tuned, found["spare"][0])
            for task in case.tasks:
                found["seats"][task]["decoy"] = _read(_view(case, task, tuned, runs), readings)
    return found


@contextmanager
def tuned_model(case: Case, runs: Path) -> Iterator[Any]:
    """Yield the trained model of a case."""
    folder = runs / "cases" / case.name
    if case.kind == "continued":
        yield load_base(Base(model=str(folder))).model
    else:
        with loaded_adapter(loaded(case.base), folder) as adapted:
            yield adapted


def _seat(case: Case, task: str, tuned: Any, runs: Path, readings: Mapping[str, Reading]) -> dict[str, Any]:
    view = _view(case, task, tuned, runs)
    judged = evaluate(view.tuned, view.examples, view.stack.device)
    by_reading = {
        name: [row["value"] for row in view.grafted if row["reading"] == name and row["layer"] > 0]
        for name in ("leave-one-out", "shapley")
    }
    return {
        "accuracy": judged.accuracy,
        "loss": judged.loss,
        **by_reading,
        "readings": _read(view, readings),
    }


def _view(case: Case, task: str, tuned: Any, runs: Path) -> View:
    examples, templates = encoded(case.base, task, "test")
    stack = Stack(loaded(case.base).model if case.kind == "continued" else None, tuned)
    crossed = case.kind == "crossed" and case.base != REAL
    others = next((other for other in case.tasks if other != task), None) if crossed else None
    if case.kind == "continued":
        control, sham = _own_control(case, runs), None
    else:
        control = _states(case.base, task, "control", runs)
        sham = None if case.base == REAL else _states(case.base, task, "sham", runs)
    return View(
        stack.models["base"],
        stack.models["tuned"],
        stack,
        examples,
        templates,
        see(stack, _prompts(examples)),
        control,
        sham,
        see(stack, _prompts(encoded(case.base, others, "test")[0])) if others else None,
    )


def _read(view: View, readings: Mapping[str, Reading]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for name, reading in readings.items():
        if name == "paper-sham" and view.sham is None:
            continue
        values = np.asarray(reading(view), dtype=float)
        found[name] = [float(value) if np.isfinite(value) else None for value in values]
    return found


def _states(base: str, task: str, kind: str, runs: Path) -> Any:
    """Return the raw states `[n, L, d]` of a control on its task's test prompts, as they were kept."""
    known = real_cases() if base == REAL else cases()
    case = next(c for c in known if c.kind == kind and c.base == base and c.tasks == (task,))
    return np.load(runs / "cases" / case.name / "states.npy")


def _own_control(case: Case, runs: Path) -> Any:
    grown = load_base(Base(model=str(runs / "cases" / case.name)))
    with loaded_adapter(grown, runs / "cases" / case.name / "control") as adapted:
        return represent_tokens(adapted, _prompts(encoded(case.base, case.tasks[0], "test")[0]), "raw").numpy()


def _prompts(examples: list[Encoded]) -> list[Any]:
    return [example.tokens[: example.prompt_length] for example in examples]


def add_decoy(tuned: Any, layer: int) -> None:
    """Give the spare layer's adapter random weights whose update is as large as the mean of the trained layers'."""
    blocks = [[m for m in block.modules() if isinstance(m, LoraLayer)] for block in blocks_of(tuned)]
    generator = torch.Generator().manual_seed(NORM_SEED)

    def norm(modules: list[Any]) -> float:
        return sum(float(module.get_delta_weight("default").pow(2).sum()) for module in modules) ** 0.5

    trained = [norm(modules) for place, modules in enumerate(blocks, 1) if modules and place != layer]
    spare: list[Any] = blocks[layer - 1]
    for module in spare:
        for factor in (module.lora_A["default"], module.lora_B["default"]):
            factor.weight.data = torch.randn(factor.weight.shape, generator=generator)
    size = norm(spare)
    for module in spare:
        module.lora_B["default"].weight.data *= sum(trained) / len(trained) / size
