"""Speed and error of one control against two models, all contenders in one run, interleaved, ratios printed.

    python benchmarks/similarity.py [--json FILE] [--quick] [--threads N] [--samples K]

Each sample is a process of its own, and contenders take turns, so that whatever else the machine does falls on all of
them. Ratios are of processor seconds, summed over threads, which others on the machine disturb less than wall-clock
seconds. Peers that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("similarity_worker.py")
PEERS = ["netrep", "anatome", "resi", "pytorch_cka", "ckatorch"]
COMPARISON = ["ours", "limit", "authors", *PEERS]
WORK = {  # name: (n, layers, d), contenders
    "(1000, 4096), 4 layers": ((1000, 4, 4096), COMPARISON),
    "(4000, 1024), 4 layers": ((4000, 4, 1024), COMPARISON),
    "(10000, 4096), 1 layer": ((10000, 1, 4096), ["ours", "limit"]),
    "32 x 32 layers at (1000, 4096)": ((1000, 32, 4096), ["layer_map", "layer_products"]),
    "1,000 permutations at (1000, 4096)": ((1000, 1, 4096), ["permutations"]),
}
QUICK = {
    "(300, 512), 2 layers": ((300, 2, 512), COMPARISON),
    "8 x 8 layers at (300, 512)": ((300, 8, 512), ["layer_map", "layer_products"]),
    "1,000 permutations at (300, 512)": ((300, 1, 512), ["permutations"]),
}


def sample(contender: str, shape: tuple[int, int, int], threads: int) -> dict:
    """Run one contender once in a fresh process."""
    count = str(threads)
    settings = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
    command = [sys.executable, str(WORKER), contender, *map(str, shape), "--threads", count]
    result = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if result.returncode:
        return {"missing": result.stderr.strip().splitlines()[-1]}
    return json.loads(result.stdout)


def error(values: dict[str, float], truth: dict[str, float], kind: str) -> float | None:
    """Return the largest deviation from float64, or None if the contender has no such values."""
    gaps = [abs(value - truth[key]) for key, value in values.items() if key.startswith(kind) and key in truth]
    return max(gaps) if gaps else None


def measure(name: str, shape: tuple[int, int, int], contenders: list[str], samples: int, threads: int) -> list[dict]:
    """Return one row per contender, medians over interleaved samples."""
    slow = shape[0] >= 10_000  # one sample, and the authors' values are the float64 ones
    truth = sample("authors" if slow else "reference", shape, threads)["values"] if "ours" in contenders else {}
    runs: dict[str, list[dict]] = {contender: [] for contender in contenders}
    for _ in range(1 if slow else samples):
        for contender in contenders:
            if not runs[contender] or "seconds" in runs[contender][-1]:
                runs[contender].append(sample(contender, shape, threads))
    rows = []
    for contender, found in runs.items():
        row = {"work": name, "contender": contender, "threads": threads, "missing": found[-1].get("missing")}
        if row["missing"] is None:
            for measured in ("seconds", "processor_seconds"):
                row[measured] = statistics.median(run[measured] for run in found)
            row["extra_gigabytes"] = max(run["extra_gigabytes"] for run in found)
            row |= {kind: error(found[-1]["values"], truth, kind) for kind in ("plain", "debiased")}
        rows.append(row)
    return rows


def show(rows: list[dict]) -> None:
    """Print a table with medians, the ratio to the first contender, and the largest deviations from float64."""
    print(f"\n{rows[0]['work']}, {rows[0]['threads']} thread(s)")
    print(f"{'contender':<16}{'wall s':>10}{'cpu s':>10}{'ratio':>8}{'plain':>10}{'debiased':>10}{'extra GB':>10}")
    first = rows[0].get("processor_seconds")
    for row in rows:
        if row["missing"]:
            print(f"{row['contender']:<16}left out: {row['missing']}")
            continue
        errors = "".join(
            f"{row[kind]:>10.1e}" if row[kind] is not None else f"{'-':>10}" for kind in ("plain", "debiased")
        )
        ratio = row["processor_seconds"] / first
        print(
            f"{row['contender']:<16}{row['seconds']:>10.3f}{row['processor_seconds']:>10.3f}{ratio:>8.2f}"
            f"{errors}{row['extra_gigabytes']:>10.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="small shapes, one sample: does everything run?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for name, (shape, contenders) in (QUICK if arguments.quick else WORK).items():
        found = measure(name, shape, contenders, 1 if arguments.quick else arguments.samples, arguments.threads)
        show(found)
        rows += found
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        made = {"date": datetime.date.today().isoformat(), "processors": os.cpu_count(), "rows": rows}
        arguments.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
