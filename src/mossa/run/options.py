"""With what a study is run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from mossa.errors import StudyError, choices
from mossa.run.engines.registry import ENGINES, Engine


@dataclass(frozen=True, slots=True)
class RunOptions:
    """With what a study is run: nothing here changes a result.

    `device` is auto, cpu, cuda or cuda:i; `workers` defaults to one process per core for a small base on the CPU, one
    per GPU, else one, and `data_parallel` of them share each training of a mixture. `shard` (k, n) makes this run the
    k-th of n that share the folder. `engine` is local or ray, and `address` that of the Ray cluster. `rehearsal`: on
    one machine, try base and recipe on two prompts first. Raises `StudyError` if these do not go together, or Ray is
    not installed.
    """

    device: str = "auto"
    workers: int | None = None
    shard: tuple[int, int] | None = None
    engine: str = "local"
    address: str | None = None
    rehearsal: bool = True
    data_parallel: int = 1

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise StudyError(f"--workers {self.workers}: give 1 or more.")
        if self.data_parallel < 1:
            raise StudyError(f"--data-parallel {self.data_parallel}: give 1 or more.")
        if self.engine not in ENGINES:
            raise StudyError(f"--engine {self.engine}: there is no such engine. {choices(self.engine, ENGINES)}")
        if self.address and self.engine != "ray":
            raise StudyError(f"--address {self.address} is that of a Ray cluster: add --engine ray.")
        if self.shard and self.engine not in ("local", "shards"):
            raise StudyError(f"--shard and --engine {self.engine} are two ways to share the work: give one of them.")
        if self.engine == "shards" and not self.shard:
            raise StudyError("--engine shards: say which of them this is, such as --shard 3/64.")
        if self.engine == "ray" and importlib.util.find_spec("ray") is None:
            raise StudyError("--engine ray needs Ray. Install it with: pip install 'mossa[ray]'")

    @property
    def way(self) -> Engine:
        """Return how the units are done."""
        return ENGINES["shards" if self.shard else self.engine]
