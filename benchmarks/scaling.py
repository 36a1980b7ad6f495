"""One worker against two: the wall clock of the same study, trained and compared afresh each time, in turns.

    python benchmarks/scaling.py [--samples K] [--steps N]

The study is twelve tasks of TinyFLAN. What counts is the ratio, and only on a machine that does nothing else: the load
of the others is printed beside it. Results must be the same to the bit, which is checked.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

TASKS = "implied, tools, films, same_news, capitals, records, who, weather, gender, topic, grammar, keywords"


def run(folder: Path, workers: int, steps: int) -> float:
    """Run the study with `workers` processes in `folder`; return its seconds."""
    settings = [
        f"tasks.only=[{TASKS}]",
        "tasks.test=60",
        f"recipe.budget={{steps: {steps}}}",
        f"experimental={{pretrained: base, sft: {{mixture: all, budget: {{steps: {steps}}}}}}}",
    ]
    command = [sys.executable, "-m", "mossa.cli", "run", "tinyflan", "--no-report", "--workers", str(workers)]
    command += ["--runs", str(folder), *(word for setting in settings for word in ("-s", setting))]
    start = time.monotonic()
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(arguments.samples):
            for workers, found in seconds.items():
                load = os.getloadavg()[0]
                found.append(run(Path(place) / f"{number}-{workers}", workers, arguments.steps))
                print(f"{workers} worker(s): {found[-1]:.1f} s (load before: {load:.1f})", flush=True)
            tables = [
                pd.read_parquet(Path(place) / f"{number}-{w}/tinyflan/results/similarity.parquet") for w in seconds
            ]
            pd.testing.assert_frame_equal(*tables, check_exact=True)
    one, two = (statistics.median(found) for found in seconds.values())
    print(f"two workers are {one / two:.2f} times as fast as one, on {os.cpu_count()} cores; the same to the bit")


if __name__ == "__main__":
    main()
