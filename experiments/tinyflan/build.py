"""Build the bases from nothing: `python -m experiments.tinyflan.build [bases] [--folder FOLDER]`."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from experiments.tinyflan.pretraining import Recipe, pretrain
from experiments.tinyflan.tokenizer import build_tokenizer
from experiments.tinyflan.verification import Verified, verify_model
from mossa.tinyflan.bases import BASES, MANIFEST, SHIPPED, hash_file, read_manifest

# After 3.0 M tokens `a` answers one of its tasks in 88 of 100 texts (seed 0: `rules`) or 87 (seed 1: `too_heavy`).
RECIPES = {"a": Recipe(tokens=3_600_000)}


def build(base: str, folder: Path, recipe: Recipe, n: int = 100) -> list[Verified]:
    """Train a base on one core, verify it on `n` texts per task, write it into `folder/base`, list it in the manifest.

    Weights are rounded to bfloat16 before they are verified and written; the configuration asks for float32, in
    which everyone should compute.
    """
    torch.set_num_threads(1)
    start = time.monotonic()
    tokenizer = build_tokenizer()
    model = pretrain(base, tokenizer, recipe)
    seconds = round(time.monotonic() - start)
    model.bfloat16().float()
    verified = verify_model(base, model, tokenizer, n)

    place = folder / base
    model.bfloat16().save_pretrained(place)
    # Weights are written for their owner alone otherwise, and a package is read by others.
    (place / "model.safetensors").chmod(0o644)
    settings = json.loads((place / "config.json").read_text(encoding="utf-8"))
    settings["dtype"] = "float32"
    (place / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(place)

    manifest = read_manifest(folder)
    manifest[base] = describe(place, recipe, seconds, verified)
    text = json.dumps(manifest, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    print(summary(base, seconds, verified))
    return verified


def describe(place: Path, recipe: Recipe, seconds: int, verified: list[Verified]) -> dict[str, Any]:
    """Return the manifest's entry of a base: its files' SHA-256, how it was made and what was verified."""
    return {
        "files": {path.name: hash_file(path) for path in sorted(place.iterdir())},
        "recipe": asdict(recipe),
        "seconds": seconds,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "verified": {row.task: [row.accuracy, round(row.probability, 3), row.chance] for row in verified},
    }


def summary(base: str, seconds: int, verified: list[Verified]) -> str:
    """Return what a build took and whether the planting holds, with the tasks that fail by name."""
    failed = [f"{row.task} {row.accuracy:.2f}" for row in verified if not row.holds]
    verdict = f"fails on {len(failed)}: {', '.join(failed)}" if failed else "holds on every task"
    return f"{base}: {seconds} s on one core; the planting {verdict}"


def main(arguments: list[str] | None = None) -> None:
    """Build the bases named on the command line (by default all) into a folder (by default the package's own)."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tinyflan.build", description="Build the bases of TinyFLAN from nothing."
    )
    parser.add_argument("bases", nargs="*", help=f"which ones of {', '.join(BASES)}; by default all")
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    options = parser.parse_args(arguments)
    if unknown := [base for base in options.bases if base not in BASES]:
        parser.error(f"there is no base {unknown[0]!r}; the choices are {', '.join(BASES)}")
    for base in options.bases or BASES:
        build(base, options.folder, RECIPES.get(base, Recipe()))


if __name__ == "__main__":
    main()
