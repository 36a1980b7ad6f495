"""How fast work is done: from published peaks, from units that are done, or measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mossa.cost.gpus import Gpu
from mossa.cost.timings import Sample, on_the_processor, products_per_second
from mossa.cost.work import Work
from mossa.store.folder import RunFolder
from mossa.study.schema import BASE
from mossa.units.unit import Unit

FORWARD_STEPS = ("represent", "evaluate", "common", "place")
MODEL_STEPS = ("train", *FORWARD_STEPS)
# Seconds to send the operations of one block to a GPU, the lower bound for small models. At most that on an H200 with
# 16 layers of Llama-3.2-1B's shape: 33 ms a micro-batch, forward and backward (docs/project/performance.md).
SENDING = 0.7e-3


@dataclass(frozen=True, slots=True)
class Rates:
    """Work per second of each step; the time of a step without a rate is unknown.

    `attaching`: seconds to put an adapter on the base, 0 where unknown. `sending`: the least seconds to send the
    operations of one block to the device.
    """

    per_second: Mapping[str, float]
    source: str
    attaching: float = 0.0
    sending: float = 0.0

    def of(self, units: Mapping[str, Unit], works: Mapping[str, Work]) -> dict[str, float]:
        """Return how long each unit takes; 0 for a step without a rate. The first to run an adapter attaches it."""
        found: dict[str, float] = {}
        attached = {BASE, None}
        for name, unit in units.items():
            rate = self.per_second.get(unit.step)
            computing = amount(unit.step, works[name]) / rate if rate else 0.0
            found[name] = max(computing, self.sending * works[name].blocks)
            if unit.step in FORWARD_STEPS and unit.model not in attached:
                found[name] += self.attaching
                attached.add(unit.model)
        return found


def amount(step: str, work: Work) -> float:
    """Return the work that a step's time is proportional to: operations, products, points, or 1 for short steps."""
    if step in MODEL_STEPS:
        return work.operations
    return {"compare": work.products, "affinity": work.products, "overview": float(work.points)}.get(step, 1.0)


def from_peak(gpu: Gpu, dtype: str, utilisation: float, name: str, sample: Sample, represented: str) -> Rates:
    """Return the rates of a GPU at a stated share of its published peak; representations are taken in `represented`."""
    rate = gpu.peak(dtype) * utilisation
    stated = f"{utilisation:.0%} of the {gpu.peak(dtype) / 1e12:,.0f} Tflop/s ({dtype}) that are published for {name}"
    stated += f", at least {1e3 * SENDING:g} ms for each block that is sent there"
    rates = dict.fromkeys(MODEL_STEPS, rate) | dict.fromkeys(
        ("represent", "common"), gpu.peak(represented) * utilisation
    )
    return Rates(rates | on_the_processor(sample, "seconds"), stated, sending=SENDING)


def from_here(sample: Sample, dtype: str) -> Rates:
    """Return the rates of this machine's CPU, as a matrix product in `dtype` runs on it now."""
    rate = products_per_second(dtype)
    rates: dict[str, float] = dict.fromkeys(MODEL_STEPS, rate) | on_the_processor(sample, "seconds")
    measured = f"a matrix product in {dtype} on this CPU, measured just now: {rate / 1e9:,.0f} Gflop/s"
    return Rates(rates, f"{measured}; no calibration")


def from_units(
    run: RunFolder,
    units: Mapping[str, Unit],
    works: Mapping[str, Work],
    done: set[str],
    sample: Sample,
    key: str = "seconds",
) -> Rates | None:
    """Return the rates at which finished units were done, None if there are none that ran a model.

    `key` is the manifest's clock: `seconds` of the wall, or `processor_seconds`.
    """
    spent: dict[str, float] = {}
    finished: dict[str, float] = {}
    preparing: list[float] = []
    count = 0
    for name in done:
        manifest = run.manifest(name) or {}
        if seconds := manifest.get(key):
            step, prepared = units[name].step, float(manifest.get("preparation", {}).get(key, 0.0))
            spent[step] = spent.get(step, 0.0) + max(float(seconds) - prepared, 1e-6)
            finished[step] = finished.get(step, 0.0) + amount(step, works[name])
            if step in FORWARD_STEPS and units[name].model != BASE and prepared:
                preparing.append(prepared)
            count += 1
    rates = {step: finished[step] / spent[step] for step in spent if finished[step] > 0}
    if "train" not in rates and "represent" not in rates:
        return None
    forward = rates.get("represent") or rates.get("evaluate") or rates["train"]
    missing = {} if {"compare", "overview"} <= rates.keys() else on_the_processor(sample, key)
    filled: dict[str, float] = dict.fromkeys(MODEL_STEPS, forward) | missing | rates
    filled.setdefault("affinity", filled["compare"])
    attaching = sorted(preparing)[len(preparing) // 2] if preparing else 0.0
    return Rates(filled, f"{count} finished unit{'s' if count > 1 else ''} of this study", attaching)
