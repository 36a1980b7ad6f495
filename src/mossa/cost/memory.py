"""The most memory that a process of a study needs at once, and which step needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mossa.cost.work import BYTES, Work
from mossa.models.shape import Shape
from mossa.study.schema import StudySettings
from mossa.training.activations import LOGITS, activation_bytes
from mossa.units.unit import Unit

LIBRARIES = 0.6e9  # bytes of a process with torch, transformers, PEFT and scikit-learn loaded, and no model


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes at once: in the memory of the device, and in the main memory; each with the step that needs them.

    `device_least`: what the device must hold where memory is short and batches are halved down to one sequence.
    """

    device: float
    device_step: str
    device_least: float
    main: float
    main_step: str


def need(
    study: StudySettings, shape: Shape, units: Mapping[str, Unit], works: Mapping[str, Work], on_gpu: bool
) -> Need:
    """Return the most that one process needs at once.

    While weights are read, what was read of their file is in memory too; where they are kept as they are in the file,
    it is the file itself that is mapped. On the processor, what a training has freed is mostly not there again for the
    shapes of an extraction, so both count.
    """
    weights = shape.weight_bytes
    running = {name: _running(study, shape, works[name], unit.step) for name, unit in units.items()}
    alone = (
        _running(study, shape, replace(work, batch=work.longest, batch_targets=work.longest_targets), units[name].step)
        for name, work in works.items()
        if name in units
    )
    main = {name: LIBRARIES + _arrays(study, shape, works, unit) for name, unit in units.items()}
    if not on_gpu:
        training = max((running[name] for name, unit in units.items() if unit.step == "train"), default=0.0)
        main = {
            name: held + weights + running[name] + (training if units[name].step != "train" else 0.0)
            for name, held in main.items()
        }
    main["loading"] = LIBRARIES + shape.stored_bytes + (0 if on_gpu or shape.kept_as_stored else weights)
    one, other = max(running, key=lambda name: running[name]), max(main, key=lambda name: main[name])
    step = units[other].step if other in units else other
    return Need(weights + running[one], units[one].step, weights + max(alone), main[other], step)


def _running(study: StudySettings, shape: Shape, work: Work, step: str) -> float:
    """Return what running the model takes beside its weights."""
    logits = LOGITS * work.batch_targets * shape.vocabulary
    if step == "train":
        states = float(shape.width * BYTES[study.base.dtype])
        kept = activation_bytes(shape.kept_per_token, shape.layers, states, work.batch, work.again)
        return 16.0 * shape.adapter_weights + kept + logits
    logits /= 2  # no gradients
    if step in ("represent", "evaluate", "common"):
        wide = study.represented_in != study.base.dtype and step != "evaluate"
        copies = 2 * shape.weight_bytes if wide else 0.0  # in 32 bits, of what is there in 16
        kept = work.batch * (1 + wide) * shape.kept_per_token / shape.layers
        return 4.0 * shape.adapter_weights + kept + logits + copies
    return 0.0


def _arrays(study: StudySettings, shape: Shape, works: Mapping[str, Work], unit: Unit) -> float:
    """Return the representations that a step holds at once.

    Those that are read are mapped: the system drops their pages when memory is short, so they do not count. One layer
    of each is held in float64. What is written is held in float32, and beside it as it is written if that is shorter.
    """
    each = BYTES[study.represented_in]
    if unit.step in ("compare", "overview", "affinity"):
        return sum(works[name].bytes for name in unit.inputs) / each * 8 / shape.layers
    if unit.step in ("represent", "common"):
        return works[unit.id].bytes / each * (4 if each == 4 else 4 + each)
    return 0.0
