"""Contenders in turns, each sample a process of its own, so that what else the machine does falls on all of them."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def sample(worker: Path, words: list[str], threads: int = 1) -> Row:
    """Run `worker` in a fresh process and return the JSON object it prints last, or why it is `missing`."""
    settings = os.environ | dict.fromkeys(LIBRARIES, str(threads)) | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, str(worker), *words]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def contest(worker: Path, contenders: list[str], words: list[str], samples: int, threads: int = 1) -> dict[str, Row]:
    """Return for each contender its last sample, every number of which is the median over all of its samples."""
    found: dict[str, list[Row]] = {contender: [] for contender in contenders}
    for _ in range(samples):
        for contender in contenders:
            if not any("missing" in row for row in found[contender]):
                found[contender].append(sample(worker, [contender, *words], threads))
    return {contender: rows[-1] | _medians(rows) for contender, rows in found.items()}


def _medians(rows: list[Row]) -> Row:
    numbers = [key for key, value in rows[-1].items() if isinstance(value, float | int)]
    return {key: statistics.median(row[key] for row in rows) for key in numbers}


def show(title: str, rows: dict[str, Row], columns: dict[str, str]) -> None:
    """Print a table; `columns` maps keys of the rows to the format of their values."""
    print(f"\n{title}\n{'':<12}" + "".join(f"{key.replace('_', ' '):>20}" for key in columns))
    for contender, row in rows.items():
        if "missing" in row:
            print(f"{contender:<12}left out: {row['missing']}")
            continue
        cells = (f"{row[key]:>20{form}}" if row.get(key) is not None else f"{'-':>20}" for key, form in columns.items())
        print(f"{contender:<12}" + "".join(cells), flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take: --json, --quick, --samples, --threads."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="also write the rows to this file")
    made.add_argument("--quick", action="store_true", help="the smallest sizes, one sample: does everything run?")
    made.add_argument("--samples", type=int, default=3)
    made.add_argument("--threads", type=int, default=1)
    return made


def write(path: Path | None, rows: Any) -> None:
    """Write the rows with the date and the machine's number of processors, if a file was asked for."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {"date": datetime.date.today().isoformat(), "processors": os.cpu_count(), "rows": rows}
        path.write_text(json.dumps(made, indent=1) + "\n")
