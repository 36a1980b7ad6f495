"""One training in one process, in one process with two threads, and shared by two processes: seconds per step.

The wall clock tells only on a machine with two idle cores:
`python benchmarks/data_parallel.py --json runs/bench/data_parallel.json`
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from material import encode, llama, texts
from mossa.models.base import LoadedBase
from mossa.study.recipe import Budget, Lora, Recipe
from mossa.training.team import ALONE, Team, joined
from mossa.training.train import train_adapter

BATCH = 8
RECIPE = Recipe(lora=Lora(rank=8, alpha=16, targets="all-linear"), learning_rate=1e-3, warmup=0, batch_size=BATCH)
WAYS = {"one process": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}  # processes, threads


def train(model: Any, examples: list[Any], steps: int, folder: Path, team: Team) -> float:
    """Return the seconds of a step, the first left out."""
    ends: list[float] = []
    base = LoadedBase(model, None, model.config.num_hidden_layers, model.config.hidden_size, 10**6)
    on_step = lambda *_: ends.append(time.perf_counter())  # noqa: E731
    train_adapter(base, examples, [], RECIPE, Budget(steps=steps), 0, folder, on_step=on_step, team=team)
    return (ends[-1] - ends[0]) / (steps - 1)


def measure(model: Any, examples: list[Any], steps: int, folder: Path, processes: int, threads: int) -> float:
    """Return the seconds of a step that so many processes share; each is a fork of this one, which holds the model."""
    context = multiprocessing.get_context("fork")
    pipe, other = context.Pipe()

    def process(rank: int) -> None:
        torch.set_num_threads(threads)
        if processes == 1:
            other.send(train(model, examples, steps, folder, ALONE))
            return
        with joined(rank, processes, folder / "meeting", torch.device("cpu")) as team:
            seconds = train(model, examples, steps, folder / f"rank{rank}" if rank else folder, team)
        if rank == 0:
            other.send(seconds)

    folder.mkdir()
    running = [context.Process(target=process, args=(rank,)) for rank in range(processes)]
    for started in running:
        started.start()
    for started in running:
        started.join()
    if any(started.exitcode for started in running):
        raise SystemExit("a process of the training failed")
    return pipe.recv()


def main() -> None:
    """Print one line per way, and how far the adapters are apart."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("tasks", type=Path, nargs="?", help="a folder of *.jsonl instead of made-up texts")
    arguments.add_argument(
        "--shape", type=int, nargs=3, default=[576, 30, 49152], metavar=("WIDTH", "LAYERS", "VOCABULARY")
    )
    arguments.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true")
    given = arguments.parse_args()
    shape, steps, rounds = ([64, 2, 512], 3, 1) if given.quick else (given.shape, given.steps, given.rounds)
    model = llama(*shape, longest=512, dtype=given.dtype)
    examples = encode(texts(given.tasks, BATCH * steps), shape[2], 384)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for way, (processes, threads) in WAYS.items():
                place = Path(folder) / f"{processes}-{threads}-{number}"
                seconds[way].append(measure(model, examples, steps, place, processes, threads))
        one, two = (load_file(Path(folder) / name / "adapter_model.safetensors") for name in ("1-1-0", "2-1-0"))
    apart = max(float((one[name] - two[name]).norm() / one[name].norm()) for name in one)
    best = {way: min(found) for way, found in seconds.items()}
    for way, found in best.items():
        print(f"{way:26} {found:8.3f} s per step, {best['one process'] / found:.2f} times one process")
    print(f"largest relative distance of an adapter's matrix after {steps} steps: {apart:.1e}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"shape": shape, "dtype": given.dtype, "rows": {"seconds": seconds, "apart": apart}}
        given.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
