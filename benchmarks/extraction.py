"""Taking the last prompt token at every layer: mossa, the paper's procedure, and what a user would write.

    python benchmarks/extraction.py [TASKS] [--json FILE] [--quick] [--samples K] [--threads N] [--dtype bfloat16]

TASKS is a folder of *.jsonl; without it, made-up texts of like lengths. Ratios are of processor seconds. Extra memory
is the peak beyond the loaded model and the result. The share of the matmul rate counts no filling as work.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contest import Row, contest, parser, sample, show, write

WORKER = Path(__file__).with_name("extraction_worker.py")
CONTENDERS = ["ours", "authors", "padded", "ordered"]
PAPER = 133  # tokens of the paper's template before every prompt
SHAPES = {  # width, layers, vocabulary, longest, tokens of the template, prompts; samples
    "96 wide, 8 layers": ((96, 8, 1566, 512, 0, 104), None),
    "256 wide, 8 layers": ((256, 8, 8192, 512, 0, 52), None),
    "96 wide, 8 layers, the paper's template": ((96, 8, 1566, 512, PAPER, 104), None),
    "256 wide, 8 layers, the paper's template": ((256, 8, 8192, 512, PAPER, 52), None),
    "576 wide, 30 layers": ((576, 30, 49152, 512, 0, 52), 1),
    "768 wide, 12 layers, the paper's template": ((768, 12, 32000, 512, PAPER, 52), 1),
}
QUICK = {"32 wide, 2 layers": ((32, 2, 64, 64, 40, 12), 1)}
MEMORY = [1, 4]  # times as many prompts


def measure(words: list[str], samples: int, threads: int) -> dict[str, Row]:
    """Return one row per contender with its ratio to ours and its largest deviation from one prompt at a time."""
    rows = contest(WORKER, CONTENDERS, words, samples, threads)
    truth = np.array(rows["authors"]["values"])
    for row in rows.values():
        row["ratio"] = row["processor_seconds"] / rows["ours"]["processor_seconds"]
        row["deviation"] = float(np.abs(np.array(row.pop("values")) - truth).max() / np.abs(truth).max())
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("tasks", type=Path, nargs="?")
    arguments.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the base's weights")
    given = arguments.parse_args()
    tasks = [*(["--tasks", str(given.tasks)] if given.tasks else []), "--dtype", given.dtype]
    columns = {"processor_seconds": ".3f", "seconds": ".3f", "ratio": ".2f", "extra_megabytes": ",.0f"}
    columns |= {"of_matmul_rate": ".0%", "deviation": ".0e"}
    found: dict[str, dict[str, Row]] = {}
    for name, (shape, samples) in (QUICK if given.quick else SHAPES).items():
        found[name] = measure([*map(str, shape), *tasks], samples or given.samples, given.threads)
        show(f"{name}: {shape[-1]} prompts, {found[name]['ours']['tokens']:,.0f} tokens", found[name], columns)
    shape = next(iter((QUICK if given.quick else SHAPES).values()))[0]
    memory = {
        f"{shape[-1] * times}": sample(WORKER, ["ours", *map(str, (*shape[:-1], shape[-1] * times)), *tasks])
        for times in MEMORY
    }
    show("ours, by number of prompts", memory, {"extra_megabytes": ",.1f", "processor_seconds": ".3f"})
    for row in memory.values():
        row.pop("values")
    write(given.json, {"contenders": found, "prompts": memory})


if __name__ == "__main__":
    main()
