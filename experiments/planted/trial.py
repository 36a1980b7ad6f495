"""The method on trial: does it find what the bases of TinyFLAN were taught?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.planted.studies import LAYERS, judge_trial, prepare_trial
from experiments.planted.text import sentences, write_trial
from mossa.run.options import RunOptions
from mossa.run.progress import run_shown
from mossa.run.run import Finished, Prepared, run_study

BASES = ("a", "b", "all", "random")


@dataclass(frozen=True, repr=False)
class Verdict:
    """What the trial found: its `tables` by name (docs/tinyflan.md), the `page` that tells it, and what failed."""

    tables: dict[str, pd.DataFrame]
    page: Path
    failed: dict[str, str]

    def __repr__(self) -> str:
        lines = [f"* {sentence}" for sentence in sentences(self.tables)]
        return "\n".join([*lines, *(f"failed: {unit}: {why}" for unit, why in self.failed.items())])


def trial(
    *overrides: str,
    bases: Sequence[str] = BASES,
    runs: str | Path = "runs",
    device: str = "auto",
    workers: int | None = None,
    progress: bool = True,
) -> Verdict:
    """Run the same study on every base of TinyFLAN and hold what it finds against what was planted there.

    Raises `MossaError` if there is no such base, a half is missing or an override is wrong.
    """
    prepared = prepare_trial(bases, overrides, Path(runs))
    options = RunOptions(device, workers)
    do = partial(_shown, options=options) if progress else partial(run_study, options=options, say=_silent)
    finished: dict[str, Finished] = {base: do(one) for base, one in prepared.items()}
    tables = vars(judge_trial(finished))
    page = write_trial(tables, LAYERS, Path(runs) / "trial")
    failed = {
        f"{base}: {one.prepared.units[name].title}": why
        for base, one in finished.items()
        for name, why in one.failed.items()
    }
    return Verdict(tables, page, failed)


def _shown(prepared: Prepared, options: RunOptions) -> Finished:
    from rich.console import Console

    return run_shown(Console(soft_wrap=True), prepared, options)


def _silent(_line: str) -> None:
    """Say nothing."""
