"""Everything that a machine with a GPU should tell about mossa, in order of worth, about 30 minutes in all.

    python benchmarks/gpu_day.py [STEP …] [--out runs/gpu] [--small]

Each step is a process of its own that writes `<out>/<step>.json` figure by figure; what is whole is not done again, so
after a stop, or an error in one step, the same command goes on. At the end a table is printed to paste into
docs/project/performance.md, with predictions beside figures. Needed are torch, transformers and what `pip install
mossa` brings, as wheels where there is no network; nothing is downloaded. `--small` rehearses every step on whatever is
here: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gpu_checks import correct, determinism, memory, study, suite
from gpu_models import GPU, Found
from gpu_speed import comparison, environment, extraction, training


@dataclass(frozen=True)
class Step:
    """One thing to find out: figures as they come, what they decide, what is expected, the minutes on an H100."""

    run: Callable[[bool], Iterator[Found]]
    decides: str
    prediction: str
    minutes: int


STEPS = {
    "environment": Step(environment, "the rates that shares are of", "H100: 600 to 750 Tflop/s in bfloat16", 1),
    "correct": Step(correct, "whether the numbers are right", "float32 below 1e-4, bfloat16 about 1e-2", 2),
    "training": Step(
        training, "micro-batches and checkpointing", "7B: 11 to 13 k true tokens/s as a run does it", 6
    ),
    "comparison": Step(comparison, "comparisons on the GPU", "50 times one thread or more; differences below 1e-4", 2),
    "study": Step(study, "workers, kills and tables", "the CPU's values within 1e-2", 5),
    "memory": Step(memory, "what happens when memory runs out", "halvings above 0, the same losses", 2),
    "determinism": Step(determinism, "what may be promised", "the same to the bit as a run does it", 2),
    "extraction": Step(extraction, "the share of the matrix rate", "7B: 28 to 36 k tokens/s, 60 % of the rate", 6),
    "suite": Step(suite, "paths that never ran on a GPU", "no failure", 4),
}  # fmt: skip


def write(out: Path, name: str, found: Found, whole: bool) -> None:
    """Keep what a step has found so far, and whether that is all."""
    (out / f"{name}.json").write_text(json.dumps({"whole": whole, "found": found}, indent=1) + "\n")


def read(out: Path, name: str) -> Found:
    """Return what a step has left, nothing if it never ran."""
    path = out / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def table(out: Path) -> str:
    """Return what was found as a table for the documentation."""
    lines = ["| step | what | figure | expected before |", "| --- | --- | --- | --- |"]
    for name, step in STEPS.items():
        left = read(out, name)
        found = left.get("found", {}) | ({} if left.get("whole") else {"not done": "run the same command again"})
        for number, (what, value) in enumerate(found.items()):
            shown = f"{value:,.4g}" if isinstance(value, float) else value
            lines.append(f"| {name if not number else ''} | {what} | {shown} | {'' if number else step.prediction} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", choices=[[], *STEPS], help="default: all, in order of worth")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--small", action="store_true", help="rehearse with tiny models, also on a CPU")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        found: Found = {}
        for some in STEPS[given.here].run(given.small):
            found |= some
            write(given.out, given.here, found, whole=False)
        write(given.out, given.here, found, whole=True)
        return 0
    if not given.small and GPU.type == "cpu":
        print("make gpu measures a GPU, and torch finds none here. --small rehearses on the CPU.", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in given.steps or STEPS:
        if not read(given.out, name).get("whole"):
            print(f"{name}: {STEPS[name].decides}, about {STEPS[name].minutes} minutes", flush=True)
            words = ["--here", name, "--out", str(given.out), *(["--small"] if given.small else [])]
            failed += bool(subprocess.run([sys.executable, __file__, *words], check=False).returncode)
    called = torch.cuda.get_device_name(0) if GPU.type == "cuda" else "CPU"
    said = "REHEARSAL, its figures mean nothing: " if given.small else ""
    print(f"\n{said}{called}, {datetime.date.today()}, torch {torch.__version__}\n\n{table(given.out)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
