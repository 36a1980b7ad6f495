"""A whole study of twelve tasks: `mossa run`, report included, against the straightforward pipeline of peers.

    python benchmarks/study.py [--json FILE] [--quick] [--threads N]

The peers' pipeline is TRL and PEFT with the base loaded for every adapter, one prompt at a time with a generation, and
CKA in float64; it evaluates nothing, gives no intervals and draws no figures. With N threads the peers' one process
has N threads, and mossa N workers. Ratios are of wall clock, which says something on an idle machine only, and of
processor seconds, summed over processes. Similarities are compared on the same adapters.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

from contest import parser, sample, write
from mossa.tinyflan import base_folder

CHILD_SUBREAPER = 36  # of Linux: what this process started comes to it when its own parent ends
WORKER = Path(__file__).with_name("study_worker.py")
TASKS = [
    "implied",
    "tools",
    "films",
    "same_news",
    "capitals",
    "records",
    "who",
    "weather",
    "gender",
    "topic",
    "grammar",
    "keywords",
]


def settings(tasks: list[str], steps: int, test: int) -> dict:
    """Return a study with the recipe of the training benchmark."""
    return {
        "name": "bench",
        "base": {"model": str(base_folder("a"))},
        "prompt": {"template": "{prompt}"},
        "tasks": {"source": "tinyflan", "only": tasks, "train": 320, "validation": 16, "test": test},
        "recipe": {
            "lora": {"rank": 8, "alpha": 16, "targets": "all-linear"},
            "learning_rate": 1e-3,
            "warmup": 0,
            "budget": {"steps": steps},
        },
        "experimental": {"pretrained": "base", "sft": {"mixture": "all"}},
    }


def mossa(study: Path, runs: Path, workers: int) -> dict[str, float]:
    """Run the study by the command line; return seconds, processor seconds and those of each step."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "mossa.cli", "run", str(study), "--runs", str(runs), "--workers", str(workers)]
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1)  # workers are not its children, and outlive it by a moment
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"seconds": time.perf_counter() - start, "processor_seconds": busy}
    manifests = [yaml.safe_load(path.read_text()) for path in runs.glob("bench/units/*/*/manifest.json")]
    parts = pd.DataFrame(manifests).groupby("step")["processor_seconds"].sum()
    return found | {str(step): float(spent) for step, spent in parts.items()}


def main() -> None:
    given = parser(__doc__).parse_args()
    sizes = (TASKS[:2], 2, 8) if given.quick else (TASKS, 60, 100)
    with tempfile.TemporaryDirectory() as place:
        study = Path(place) / "bench.yaml"
        study.write_text(yaml.safe_dump(settings(*sizes)))
        ours = mossa(study, Path(place) / "runs", given.threads)
        peers = sample(WORKER, [str(study), str(Path(place) / "runs")], given.threads)
    if "missing" in peers:
        sys.exit(peers["missing"])
    peers["processor_seconds"] = sum(peers[part] for part in ("training", "extraction", "similarity"))
    print(f"{len(sizes[0])} tasks, {sizes[1]} steps, {sizes[2]} prompts each")
    for name, row in (("mossa", ours), ("peers", peers)):
        print(f"{name:<8}" + ", ".join(f"{key.replace('_', ' ')} {value:,.4g}" for key, value in row.items()))
    training = peers["training"] / ours["train"]
    extraction = peers["extraction"] / ours["represent"]
    ratio, wall = (peers[clock] / ours[clock] for clock in ("processor_seconds", "seconds"))
    print(f"training {training:.1f}, extraction {extraction:.1f}, all {ratio:.1f} times the processor seconds of mossa")
    print(f"wall clock {wall:.1f} times that of mossa, with {given.threads} threads or workers")
    write(given.json, {"mossa": ours, "peers": peers, "ratio": ratio, "wall_clock_ratio": wall})


if __name__ == "__main__":
    main()
