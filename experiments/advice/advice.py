"""Which layers to adapt, as an object: the reason, a configuration for PEFT, and a test of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from experiments.advice.study import advise_study, write_advice
from experiments.advice.text import as_text, outcome
from mossa.store.record import Record

if TYPE_CHECKING:
    from peft import LoraConfig


class LayerAdvice:
    """The layers to adapt for new tasks, from the results of a study; the rules are in docs/explanation/advice.md.

    `found` holds everything; `layers` count from 1. Raises `DataError` if the results hold no tuned model `model`.
    """

    def __init__(self, record: Record, tables: Mapping[str, pd.DataFrame], model: str | None = None) -> None:
        self.record, self.tables = record, tables
        self.study_advice = advise_study(record.study, tables, model)
        self.found = self.study_advice.advice

    @property
    def layers(self) -> tuple[int, ...]:
        """Return the layers to adapt, from 1; empty if no advice can be given."""
        return self.found.layers

    @property
    def config(self) -> LoraConfig | None:
        """Return PEFT's configuration of the study's own LoRA on these layers, or None if no advice can be given."""
        return self.study_advice.config

    def save(self) -> Path:
        """Write the advice into `advice/` of the run folder and return that folder."""
        return write_advice(self.study_advice, self.record.run)

    def test(self, device: str = "auto", workers: int | None = None, progress: bool = True) -> AdviceTest:
        """Train the held-out tasks on these layers and on as many others, and return how they compare.

        Three seeds, equal steps, equally many trained weights. What is done is kept, and a second call goes on. Raises
        `StudyError` if there is no advice, or fewer than three tasks were held out.
        """
        from experiments.advice.trial import judge_trial, prepare_trial, write_outcome
        from mossa.run.options import RunOptions
        from mossa.run.run import run_study

        means, runs = RunOptions(device, workers), self.record.run.path.parent
        trial = prepare_trial(self.record.study, self.found, self.tables, runs)
        if progress:
            from rich.console import Console

            from mossa.run.progress import run_shown

            console = Console(soft_wrap=True)
            finished = {name: run_shown(console, one, means) for name, one in trial.prepared.items()}
        else:
            finished = {name: run_study(one, means, say=_silent) for name, one in trial.prepared.items()}
        judged = judge_trial(trial, finished)
        failed = {
            f"{name}: {one.prepared.units[unit].title}": why
            for name, one in finished.items()
            for unit, why in one.failed.items()
        }
        page = write_outcome(judged, self.record.run)
        return AdviceTest(judged.trainings, judged.arms, judged.against, judged.steps, page, failed)

    def __repr__(self) -> str:
        advice, saving = self.study_advice, self.study_advice.saving
        return as_text(advice.advice, advice.python(), saving.lines() if saving else ())


@dataclass(frozen=True, repr=False)
class AdviceTest:
    """What the test showed: one row per training, per arm, and per comparison with the advice; the `page` tells it."""

    trainings: pd.DataFrame
    arms: pd.DataFrame
    against: pd.DataFrame
    steps: int
    page: Path
    failed: dict[str, str]

    def __repr__(self) -> str:
        lines = [f"* {sentence}" for sentence in outcome(self.against)]
        return "\n".join([*lines, *(f"failed: {unit}: {why}" for unit, why in self.failed.items())])


def _silent(_line: str) -> None:
    """Say nothing."""
