"""A study as an object: load it, check it, see what it costs, run it, look at what it found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from mossa.api.results import Results
from mossa.api.status import StudyStatus, Validation
from mossa.study.loading import ReadStudy, read_settings, read_study
from mossa.study.schema import StudySettings as Settings

if TYPE_CHECKING:
    from mossa.api.cost import Cost
    from mossa.run.run import Finished, Prepared


class Study:
    """A valid study and the folder its runs go to; every verb of the command line that takes a study is a method.

    `settings` are those of the file, validated, with paths resolved. What a user can fix is a `MossaError`.
    """

    def __init__(self, settings: Settings, runs: str | Path = "runs") -> None:
        self.settings, self.runs = settings, Path(runs)
        self._read = ReadStudy(settings, [], {})

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], *overrides: str, runs: str | Path = "runs") -> Study:
        """Return the study in a file, in a mapping of the same keys, or one that comes with mossa, by its name.

        `overrides` are of the form `key=value`, as after `-s`. Raises `StudyError` that lists every problem.
        """
        read = _read(source, overrides)
        study = cls(read.valid(_name(source)), runs)
        study._read = read
        return study

    @classmethod
    def init(cls, path: str | Path, base: str, tasks: str) -> Study:
        """Write a commented study file to start from and return its study; raises `StudyError` if it exists."""
        from mossa.api.tasks import start_study

        start_study(path, base, tasks)
        return cls.load(path)

    @property
    def folder(self) -> Path:
        """Return the run folder."""
        return self.runs / self.settings.name

    def validate(self, rehearsal: bool = True) -> Validation:
        """Look for everything that would go wrong; return all problems at once, and the checks that passed.

        `rehearsal`: also load the base if its weights are here, and try what a run does on two prompts.
        """
        return _checked(self._read, rehearsal, self.runs)

    def tasks(self) -> pd.DataFrame:
        """Return one row per task: `task`, `cluster`, examples in `train`, `validation` and `test`, and `left_out`."""
        from mossa.tasks.collections import load_tasks

        return pd.DataFrame(
            {
                "task": task.name,
                "cluster": task.cluster,
                "train": len(task.train),
                "validation": len(task.validation),
                "test": len(task.test),
                "left_out": sum(task.left_out.values()),
            }
            for task in load_tasks(self.settings.tasks)
        )

    def plan(
        self, gpu: str | None = None, gpus: int | None = None, utilisation: float = 0.35, calibrate: bool = False
    ) -> Cost:
        """Return what the study will cost: tokens, operations, time, memory, disk; no weights are loaded.

        `gpu`: one by its name, such as h100; default: what is found here. `gpus`: how many, or processes on the CPU;
        default: as many as `run` takes here. `utilisation`: the share of the GPU's published peak that is reached.
        `calibrate`: do one training first, keep it, and estimate the rest from it.
        """
        from mossa.api.cost import cost

        return cost(self._prepared, gpu, gpus, utilisation, calibrate)

    def status(self) -> StudyStatus:
        """Return which units are done, missing, failed, stale or damaged, and why."""
        prepared = self._prepared()
        return StudyStatus.of(prepared.record, prepared.todo)

    def run(
        self,
        device: str = "auto",
        workers: int | None = None,
        shard: tuple[int, int] | None = None,
        engine: str = "local",
        address: str | None = None,
        report: bool = True,
        progress: bool = True,
        rehearsal: bool = True,
        data_parallel: int = 1,
    ) -> Results:
        """Train, extract, compare and report, only what is missing or changed, and return the results.

        `workers`: processes; default: one per core for a small base, one per GPU, else one. `shard`: (k, n) to be the
        k-th of n runs that share the work. `engine` and `address`: this machine or a Ray cluster. `report`: also write
        the report into the run folder. `progress`: show how it goes. `rehearsal`: try base and recipe on two prompts
        first, once per folder. `data_parallel`: so many workers share each training of a mixture, and the adapter is
        the same to rounding. Units that fail are in `failed` of the results.
        """
        from mossa.run.options import RunOptions
        from mossa.run.progress import run_shown
        from mossa.run.publish import is_current, publish
        from mossa.run.run import prepare_to_run, run_study

        options = RunOptions(device, workers, shard, engine, address, rehearsal, data_parallel)
        prepared = prepare_to_run(self.settings, self.runs, options)

        def conclude(finished: Finished) -> None:
            record = prepared.record
            if report and not is_current(record) and "similarity" in finished.tables:
                publish(record, finished.tables)

        if progress:
            from rich.console import Console

            finished = run_shown(Console(soft_wrap=True), prepared, options, conclude)
        else:
            finished = run_study(prepared, options, say=_silent, conclude=conclude)
        return Results(prepared.record, finished.tables)

    def results(self) -> Results:
        """Return the results so far, of the units that match this study; nothing is run."""
        return Results(self._prepared().record)

    def report(self, format: Literal["html", "md"] = "html", for_paper: bool = False) -> Path:
        """Write tables, figures and report into the run folder again, from what is there; return the page to open.

        `for_paper`: also draw every figure as PDF, and as wide as one column.
        Raises `RunFolderError` if nothing was run or another process works there, `DataError` if nothing was compared.
        """
        from mossa.run.publish import write_again

        return write_again(self._prepared(), format, _silent, "study.run()", for_paper=for_paper).page

    def __repr__(self) -> str:
        settings = self.settings
        return (
            f"Study {settings.name}: base {settings.base.model}, tasks {settings.tasks.source}, "
            f"experimental models {', '.join(settings.experimental)}, control seeds "
            f"{', '.join(map(str, settings.control.seeds))}; runs in {self.folder}"
        )

    def _prepared(self) -> Prepared:
        from mossa.run.run import prepare

        return prepare(self.settings, self.runs)


def validate(source: str | Path | Mapping[str, Any], *overrides: str, rehearsal: bool = True) -> Validation:
    """Check a study, valid or not, and everything it names; return all problems at once, and the checks that passed.

    `rehearsal`: also load the base if its weights are here, and try what a run does on two prompts. Raises `StudyError`
    if the file cannot be read or an override is not of the form `key=value`.
    """
    return _checked(_read(source, overrides), rehearsal)


def _read(source: str | Path | Mapping[str, Any], overrides: tuple[str, ...]) -> ReadStudy:
    if isinstance(source, Mapping):
        return read_settings(source, overrides)
    return read_study(Path(source), overrides)


def _checked(read: ReadStudy, rehearsal: bool, runs: Path = Path("runs")) -> Validation:
    from mossa.run.check import check_study

    return Validation(*check_study(read, rehearsal, runs))


def _name(source: str | Path | Mapping[str, Any]) -> str:
    return "the study" if isinstance(source, Mapping) else str(source)


def _silent(_line: str) -> None:
    """Say nothing."""
