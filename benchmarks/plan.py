"""What `mossa plan` says against what a study then takes: tokens, processor seconds, peak memory.

    python benchmarks/plan.py [--case NAME] [--json FILE]

Each study runs whole, in one process with one thread. Its cost is then estimated from one training, one extraction
and one evaluation of it, as `mossa plan --calibrate` would have, and put beside what the manifests say was spent.
Processor seconds are compared, because a machine that is shared disturbs them less than the wall clock.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from mossa.cost.calibrate import chosen_units
from mossa.cost.estimate import CostEstimate, estimate
from mossa.run.run import Prepared, prepare
from mossa.store.folder import Status
from mossa.study import load_study
from mossa.tinyflan.bases import base_folder

TASKS = ["implied", "tools", "films", "capitals", "records", "weather", "topic", "grammar"]
CASES: dict[str, tuple[str | None, dict[str, Any], dict[str, Any]]] = {
    "tinyflan:a": (None, {}, {"tasks": {"train": 200, "test": 100}, "recipe": {"budget": {"steps": 60}}}),
    "qwen2, 8 x 256": (
        "qwen2",
        {
            "hidden_size": 256,
            "num_hidden_layers": 8,
            "intermediate_size": 704,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
        },
        {"tasks": {"train": 80, "test": 60, "only": TASKS[:4]}, "recipe": {"budget": {"epochs": 2}, "batch_size": 8}},
    ),
    "gpt_neox, 4 x 512": (
        "gpt_neox",
        {"hidden_size": 512, "num_hidden_layers": 4, "intermediate_size": 2048, "num_attention_heads": 8},
        {"tasks": {"train": 100, "test": 120, "only": TASKS[:4]}, "recipe": {"budget": {"target_tokens": 600}}},
    ),
}


def make_base(place: Path, architecture: str, shape: dict[str, Any]) -> str:
    """Save a model with random weights that reads TinyFLAN's tokens; return its folder."""
    tokenizer = AutoTokenizer.from_pretrained(base_folder("a"))
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), max_position_embeddings=512, **ends, **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


def run(place: Path, case: str) -> tuple[Prepared, dict[str, pd.DataFrame]]:
    """Run a study in a process of its own; return it as it stands then, and its tables."""
    architecture, shape, changes = CASES[case]
    base = case
    if architecture:
        base = str(place / "base") if (place / "base").is_dir() else make_base(place / "base", architecture, shape)
    study = {
        "name": "measured",
        "base": {"model": base},
        "prompt": {"template": "{prompt}"},
        "tasks": {"source": "tinyflan", "only": TASKS, "validation": 4} | changes["tasks"],
        "recipe": {"preset": "small"} | changes["recipe"],
        "similarity": {"other_controls": 1},
    }
    (place / "measured.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "mossa.cli", "run", "measured.yaml", "--workers", "1", "--no-report"]
    done = subprocess.run(
        command, cwd=place, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    tables = {path.stem: pd.read_parquet(path) for path in place.glob("runs/measured/results/*.parquet")}
    return prepare(load_study(place / "measured.yaml"), place / "runs"), tables


def calibrated(finished: Prepared) -> CostEstimate:
    """Return the estimate that is made when nothing is done but what a calibration does."""
    missing = Status("missing")
    fresh = replace(finished, status=dict.fromkeys(finished.units, missing))
    chosen = chosen_units(estimate(fresh))
    status = {name: finished.status[name] if name in chosen else missing for name in finished.units}
    return estimate(replace(finished, status=status), clock="processor_seconds")


def compared(case: str, place: Path) -> list[dict[str, Any]]:
    """Return one row per step and for the whole: what was planned and what was measured."""
    finished, tables = run(place, case)
    planned = calibrated(finished)
    manifests = {name: finished.run.manifest(name) or {} for name in finished.units}
    trained = tables["adapters"].set_index("adapter")["target_tokens"]
    for name, work in planned.works.items():
        if finished.units[name].step == "train":
            assert work.targets == trained[finished.units[name].key], name
    rows = []
    for step in dict.fromkeys(unit.step for unit in finished.units.values()):
        names = [name for name, unit in finished.units.items() if unit.step == step]
        spent = sum(manifests[name]["processor_seconds"] for name in names)
        rows.append({"of": f"{step} (s)", "planned": sum(planned.seconds[name] for name in names), "measured": spent})
    rows.append({"of": "all (s)"} | {key: sum(row[key] for row in rows) for key in ("planned", "measured")})
    peak = max(manifest["peak_memory"] for manifest in manifests.values())
    rows.append({"of": "peak memory (GB)", "planned": planned.need.main / 1e9, "measured": peak / 1e9})
    return [{"case": case, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: all")
    parser.add_argument("--runs", type=Path, help="keep the runs here; one that is there is not done again")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}  {platform.machine()}, {os.cpu_count()} processors\n")
    print(f"{'':22}{'':20}{'planned':>12}{'measured':>12}{'planned/measured':>18}")
    rows = []
    for number, case in enumerate(CASES):
        if arguments.case and case not in arguments.case:
            continue
        with nullcontext(arguments.runs) if arguments.runs else tempfile.TemporaryDirectory() as runs:
            place = Path(runs) / str(number)
            place.mkdir(parents=True, exist_ok=True)
            found = compared(case, place)
        for row in found:
            ratio = row["planned"] / row["measured"] if row["measured"] else float("nan")
            print(f"{case:22}{row['of']:20}{row['planned']:>12.3f}{row['measured']:>12.3f}{ratio:>18.2f}", flush=True)
        rows += found
    if arguments.json:
        made = {"date": datetime.date.today().isoformat(), "rows": rows}
        arguments.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
