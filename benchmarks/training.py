"""Training one adapter: mossa, TRL's SFTTrainer with PEFT, and a plain PEFT loop, on the same examples and steps.

    python benchmarks/training.py [TASKS] [--json FILE] [--quick] [--samples K] [--threads N] [--dtype bfloat16]

TASKS is a folder of *.jsonl; without it, made-up texts of like lengths. All begin with the same adapter and see the
same examples in the same order; only target tokens are learnt. Ratios are of processor seconds. Also counted: how often
mossa loads the base while it trains 20 adapters.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from contest import Row, contest, parser, show, write
from mossa.models import loader
from mossa.models.base import load_base
from mossa.run.engines.local import run_here
from mossa.run.events import Event, Outcome
from mossa.run.queue import Queue
from mossa.run.run import prepare
from mossa.steps.job import Job
from mossa.study import load_study

WORKER = Path(__file__).with_name("training_worker.py")
CONTENDERS = ["ours", "plain", "trl"]
SHAPES = {  # width, layers, vocabulary, longest, steps; samples
    "96 wide, 8 layers": ((96, 8, 1566, 512, 10), None),
    "256 wide, 8 layers": ((256, 8, 8192, 512, 5), None),
    "576 wide, 30 layers, 49152 tokens": ((576, 30, 49152, 512, 3), 1),
}
QUICK = {"32 wide, 2 layers": ((32, 2, 64, 64, 3), 1)}


def measure(words: list[str], samples: int, threads: int) -> dict[str, Row]:
    """Return one row per contender with its ratio to ours and its largest relative deviation from the plain losses."""
    rows = contest(WORKER, CONTENDERS, words, samples, threads)
    truth = rows["plain"]["losses"]
    for row in rows.values():
        if "missing" not in row:
            row["ratio"] = row["processor_seconds"] / rows["ours"]["processor_seconds"]
            row["deviation"] = max(abs(a - b) / b for a, b in zip(row["losses"], truth, strict=True))
    return rows


def loads(adapters: int) -> tuple[int, int]:
    """Train this many controls of TinyFLAN in one process; return how many, and how often the base was loaded."""
    loaded = 0

    def counting(*given: Any) -> Any:
        nonlocal loaded
        loaded += 1
        return load_base(*given)

    tiny = ["tasks.train=16", "tasks.validation=4", "tasks.test=8", "recipe.budget={steps: 1}"]
    trained: list[str] = []

    def settle(event: Event) -> None:
        if isinstance(event, Outcome) and event.state == "done":
            queue.done(event.identifier)
            trained.append(event.identifier)

    with tempfile.TemporaryDirectory() as folder, patch.object(loader, "load_base", counting):
        prepared = prepare(load_study(Path("tinyflan"), [*tiny, "experimental={pretrained: base}"]), Path(folder))
        prepared.run.prepare()
        chosen = [name for name, unit in prepared.units.items() if unit.step == "train"][:adapters]
        queue = Queue(prepared.units, chosen)
        run_here(Job(prepared.study, prepared.tasks, prepared.run, prepared.fingerprints), queue, "cpu", 1, settle)
    return len(trained), loaded


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("tasks", type=Path, nargs="?")
    arguments.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the base's weights")
    given = arguments.parse_args()
    tasks = [*(["--tasks", str(given.tasks)] if given.tasks else []), "--dtype", given.dtype]
    columns = {"processor_seconds": ".2f", "seconds": ".2f", "ratio": ".2f", "target_tokens_per_second": ",.0f"}
    columns |= {"of_matmul_rate": ".0%", "deviation": ".0e"}
    found: dict[str, dict[str, Row]] = {}
    for name, (shape, samples) in (QUICK if given.quick else SHAPES).items():
        found[name] = measure([*map(str, shape), *tasks], samples or given.samples, given.threads)
        show(f"{name}: {shape[-1]} steps", found[name], columns)
    adapters, loaded = loads(2 if given.quick else 20)
    print(f"\n{adapters} adapters trained by one worker; the base was loaded {loaded} time(s)")
    write(given.json, {"contenders": found, "adapters": adapters, "loads": loaded})


if __name__ == "__main__":
    main()
