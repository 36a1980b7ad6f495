"""What a study will cost, as numbers and as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from mossa.cost.calibrate import calibrate as do_one
from mossa.cost.estimate import CostEstimate, estimate
from mossa.cost.schedule import makespan
from mossa.cost.text import lines
from mossa.errors import StudyError
from mossa.run.engines.registry import choose_devices
from mossa.run.run import Prepared


@dataclass(frozen=True, repr=False)
class Cost:
    """What a study will cost with so many workers; `estimate` has every number, printing it shows them in words."""

    estimate: CostEstimate
    workers: int

    @property
    def seconds(self) -> float:
        """Return the seconds until the last unit is done that is not done yet."""
        found = self.estimate
        return makespan(found.units, found.todo, found.seconds, self.workers)

    @property
    def units(self) -> pd.DataFrame:
        """Return one row per unit: `unit`, `step`, `todo`, `tokens`, `operations`, `seconds`, `bytes`."""
        found, todo = self.estimate, set(self.estimate.todo)
        return pd.DataFrame(
            {
                "unit": name,
                "step": unit.step,
                "todo": name in todo,
                "tokens": found.works[name].tokens,
                "operations": found.works[name].operations + found.works[name].products,
                "seconds": found.seconds[name],
                "bytes": found.works[name].bytes,
            }
            for name, unit in found.units.items()
        )

    def __repr__(self) -> str:
        return "\n".join(lines(self.estimate, self.workers))


def cost(
    prepare: Callable[[], Prepared], gpu: str | None, gpus: int | None, utilisation: float, calibrate: bool
) -> Cost:
    """Return what the study that `prepare` gives will cost; raises `MossaError` for contradicting options."""
    if calibrate and gpu:
        raise StudyError("--calibrate measures this machine and --gpu names another; give one of them.")
    if (gpus is not None and gpus < 1) or not 0 < utilisation <= 1:
        raise StudyError(
            f"gpus is {gpus} and utilisation {utilisation}; give 1 or more GPUs, and a share above 0 and up to 1."
        )
    prepared = prepare()
    if calibrate:
        do_one(prepared, estimate(prepared), print)
        prepared = prepare()
    found = estimate(prepared, gpu, utilisation)
    if gpus is None:  # as many as a run would take
        gpus = 1 if found.gpu else len(choose_devices(prepared.study, "cpu", None)[0])
    return Cost(found, gpus)
