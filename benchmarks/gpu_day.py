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
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from gpu import FIELDS, FULL, REHEARSAL, SHAPES, finish, matmul_rate, measure, seconds
from mossa.cost.gpus import found_gpu
from mossa.errors import ModelError
from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase
from mossa.models.batches import Allowance
from mossa.models.kernels import same_bits
from mossa.models.prompts import Encoded
from mossa.place import Stack, locate_update
from mossa.representations import represent_tokens
from mossa.similarity import compare, spectrum
from mossa.study.presets import RECIPES
from mossa.study.recipe import Budget, Recipe
from mossa.training import loss
from mossa.training.evaluate import evaluate
from mossa.training.train import Trained, train_adapter

Found = dict[str, Any]
GPU = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
FAMILIES = ["llama", "qwen3", "gemma2", "gemma3_text", "mistral", "olmo2", "gpt_neox", "phi", "mixtral"]
TESTED = ("training", "representations", "similarity", "place", "paired", "models")
PARTS = ("adapter", "losses", "representations", "evaluation", "place")
WIDE = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "vocab_size": 512,
    "intermediate_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
STUDY = {
    "base": {"model": "tinyflan:a", "dtype": "float32"},
    "prompt": {"template": "{prompt}"},
    "tasks": {"source": "tinyflan", "only": ["implied", "tools", "films", "dishes"], "train": 300, "test": 60},
    "recipe": {"preset": "small", "budget": {"steps": 60}, "checkpoint_every": 10},
    "control": {"seeds": [0]},
    "experimental": {"pretrained": "base", "sft": {"mixture": "all"}},
    "similarity": {"other_controls": 1},
}
GPU_RUNS = {"one": ("cuda", "1"), "two": ("cuda", "2"), "offloaded": ("cuda:0=900KB+cpu", "1")}


@dataclass(frozen=True)
class Step:
    """One thing to find out: figures as they come, what they decide, what is expected, the minutes on an H100."""

    run: Callable[[bool], Iterator[Found]]
    decides: str
    prediction: str
    minutes: int


def built(config: Any, dtype: torch.dtype, device: torch.device = GPU) -> LoadedBase:
    """Return a model with random weights, the same for any device."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
    text = config.get_text_config()
    return LoadedBase(model, None, text.num_hidden_layers, text.hidden_size, 4096)


def shaped(name: str) -> Any:
    """Return the configuration of Llama-2-7B, Llama-3.2-1B or a tiny one."""
    return AutoConfig.for_model("llama", max_position_embeddings=4096, **dict(zip(FIELDS, SHAPES[name], strict=True)))


def mixture(count: int, vocabulary: int, longest: int = 1024) -> list[Encoded]:
    """Return examples with lengths as those of a mixture of tasks: most short, some many times as long."""
    random = np.random.default_rng(0)
    lengths = np.minimum(longest, longest * 0.15 + random.lognormal(np.log(longest * 0.09), 1.0, count)).astype(int)
    return [Encoded(random.integers(3, vocabulary, n).tolist(), int(n) - 5, False, i) for i, n in enumerate(lengths)]


def trained(
    base: LoadedBase, examples: list[Encoded], steps: int, folder: Path, **changes: Any
) -> tuple[Trained, float]:
    """Train with the paper's recipe; return what it gave and the seconds per step after the second."""
    ticks: list[float] = []
    allowance = changes.pop("allowance", None)
    recipe = Recipe.model_validate(RECIPES["paper"] | {"learning_rate": 1e-3, "lora": {"rank": 8}} | changes)
    done = train_adapter(
        base, examples, [], recipe, Budget(steps=steps), 0, folder,
        on_step=lambda *_: ticks.append(finish(base.device)), allowance=allowance,
    )  # fmt: skip
    return done, (ticks[-1] - ticks[1]) / (steps - 2)


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the relative distance of two tensors."""
    return float((one.double().cpu() - other.double().cpu()).norm() / other.double().norm().clamp(min=1e-30))


def environment(small: bool) -> Iterator[Found]:
    """Versions, the card, and the rates that everything else is a share of."""
    names = ("torch", "transformers", "peft", "accelerate", "numpy", "bitsandbytes", "ray")
    versions = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}
    card = torch.cuda.get_device_properties(0) if GPU.type == "cuda" else None
    yield {
        "card": card.name if card else "CPU",
        "gigabytes": card.total_memory / 1e9 if card else None,
        "mossa_calls_it": found_gpu(),
        "bfloat16_tflops": matmul_rate(GPU, 256 if small else 8192, 2 if small else 20) / 1e12,
        **versions,
    }


def correct(small: bool) -> Iterator[Found]:
    """float32 on the GPU against the CPU, checkpointed, and bfloat16: adapter, losses, representations; per family."""
    for family in FAMILIES[: 1 if small else None]:
        config = AutoConfig.for_model(family, **WIDE)
        if getattr(config, "sliding_window", None):
            config.sliding_window = 24  # shorter than the examples
        with tempfile.TemporaryDirectory() as place:
            weights = built(config, torch.float32, torch.device("cpu")).model.state_dict()
            seen: dict[str, list[torch.Tensor]] = {}
            cases = {"cpu": ("cpu", "float32", False), "gpu": (GPU, "float32", False)}
            cases |= {"again": (GPU, "float32", True), "bfloat16": (GPU, "bfloat16", False)}
            for name, (device, dtype, again) in cases.items():
                base = built(config, getattr(torch, dtype), torch.device(device))
                base.model.load_state_dict(weights)
                examples, folder = mixture(48, 512, 80), Path(place) / name
                lora = {"rank": 8, "targets": "all-linear"}
                done, _ = trained(base, examples, 4, folder, gradient_checkpointing=again, lora=lora)
                with loaded_adapter(base, Path(place) / "cpu") as adapted:
                    rows = represent_tokens(adapted, [each.tokens for each in examples])
                    judged = evaluate(adapted, examples, base.device)
                    located = locate_update(Stack(None, adapted), examples).table["value"].astype(float).fillna(0.0)
                adapter = load_file(folder / "adapter_model.safetensors")
                flat = torch.cat([adapter[key].flatten() for key in sorted(adapter)])
                losses = torch.tensor([done.first_loss, done.last_loss])
                seen[name] = [flat, losses, rows, torch.tensor(judged.loss), torch.tensor(located.to_numpy())]
        for name in ("gpu", "again", "bfloat16"):
            parts = zip(PARTS, seen[name], seen["cpu"], strict=True)
            yield {f"{family}, {name}, {what}": far(one, other) for what, one, other in parts}


def determinism(small: bool) -> Iterator[Found]:
    """The same training three times, as a run does it and without asking for it: equal to the bit, and its cost."""
    base = built(shaped("small" if small else "1b"), torch.bfloat16)
    examples = mixture(64, 300, 60 if small else 1024)
    for mode, context in (("as a run does it", same_bits), ("not asked for", nullcontext)):
        digests, spent = set[str](), 0.0
        for _ in range(2 if small else 3):
            with tempfile.TemporaryDirectory() as place, context():
                _, spent = trained(base, examples, 4, Path(place) / "a")
                data = (Path(place) / "a/adapter_model.safetensors").read_bytes()
            digests.add(hashlib.sha256(data).hexdigest())
        yield {f"{mode}, same to the bit": len(digests) == 1, f"{mode}, seconds a step": spent}


def memory(_small: bool) -> Iterator[Found]:
    """Little memory on purpose: batches are halved, losses stay, and training goes on."""
    if GPU.type != "cuda":
        yield {"left out": "there is no GPU here, and a CPU cannot be told to have little memory"}
        return
    base, whole = built(shaped("1b"), torch.bfloat16), torch.cuda.get_device_properties(0).total_memory
    for again in (False, True):
        for spare in (None, 3e9, 1.2e9):
            torch.cuda.empty_cache()
            if spare:
                torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + spare) / whole)
            allowance, name = Allowance(), f"checkpointing {again}, {spare or whole:.1e} bytes"
            with tempfile.TemporaryDirectory() as place:
                examples = mixture(48, 30000)
                try:
                    done, _ = trained(base, examples, 3, Path(place), gradient_checkpointing=again, allowance=allowance)
                    yield {f"{name}, halvings": allowance.halvings, f"{name}, last loss": done.last_loss}
                except ModelError as error:  # not even one sequence fits
                    yield {f"{name}, halvings": allowance.halvings, f"{name}, says": str(error)}
            torch.cuda.set_per_process_memory_fraction(1.0)


def training(small: bool) -> Iterator[Found]:
    """True tokens per second at the lengths of a mixture, over micro-batches and checkpointing."""
    for name in ["small"] if small else ["7b", "1b"]:
        base = built(shaped(name), torch.bfloat16)
        examples = mixture(16 * (4 if small else 12), 300, 60 if small else 1024)
        true = sum(len(each.tokens) for each in examples) / len(examples) * 16
        for label, dispatch, attention in (
            ("as a run does it", loss.DISPATCH, loss.unplanned_attention),
            ("with cuDNN's attention", loss.DISPATCH, nullcontext),
            ("one batch", 1e30, loss.unplanned_attention),
        ):
            for again in (False, True):
                before = loss.DISPATCH, loss.unplanned_attention
                loss.DISPATCH, loss.unplanned_attention = dispatch, attention
                allowance = Allowance()
                with tempfile.TemporaryDirectory() as place:
                    steps = len(examples) // 16
                    _, spent = trained(
                        base, examples, steps, Path(place), gradient_checkpointing=again, allowance=allowance
                    )
                loss.DISPATCH, loss.unplanned_attention = before
                key = f"{name}, {label}, checkpointing {again}"
                yield {f"{key}, true tokens/s": true / spent, f"{key}, halvings": allowance.halvings}
                if GPU.type == "cuda":
                    yield {f"{key}, peak GB": torch.cuda.max_memory_allocated() / 1e9}
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()


def extraction(small: bool) -> Iterator[Found]:
    """Prompts per second and the share of the matrix rate, at 7B and 1B, with the functions that a study uses."""
    for name in ["small"] if small else ["7b", "1b"]:
        row = measure(name, GPU, REHEARSAL if small else FULL)
        yield {f"{name}, {key}": value for key, value in row.items() if key != "shape"}


def comparison(small: bool) -> Iterator[Found]:
    """Seconds a layer of a comparison and of a spectrum, on the GPU and on one thread; how far the values differ."""
    n, d = (100, 64) if small else (4000, 4096)
    random = torch.Generator().manual_seed(0)
    first = torch.randn(n, 1, d, generator=random)
    names = ("pretrained", "sft", "unseen", "control")
    arrays = {name: first + size * torch.randn(n, 1, d, generator=random) for size, name in enumerate(names, 1)}
    ids = ["cka-linear", "cka-linear-debiased", "shift-cka-linear", "shift-cka-linear-debiased"]
    torch.set_num_threads(1)

    def one(device: torch.device) -> tuple[Found, list[float | None]]:
        here = {name: array.to(device) for name, array in arrays.items()}
        models = {name: here[name] for name in names[:3]}
        rows = compare(models, here["control"], ids, origin=here["pretrained"]).similarity
        spent = seconds(device, lambda: compare(models, here["control"], ids, origin=here["pretrained"]))
        other = seconds(device, lambda: spectrum(here["control"]))
        return {f"compare on {device.type}, s": spent, f"spectrum on {device.type}, s": other}, [
            row["value"] for row in rows
        ]

    (here, ours), (there, theirs) = one(GPU), one(torch.device("cpu"))
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None)
    yield here | there | {"largest difference": apart}


def study(small: bool) -> Iterator[Found]:
    """A study with two workers, killed and resumed, against one, one offloaded and the CPU: tables, and seconds."""
    settings = STUDY | (
        {"tasks": {**STUDY["tasks"], "train": 20, "test": 12, "only": ["implied", "tools"]}} if small else {}
    )
    settings |= {"recipe": {**STUDY["recipe"], "budget": {"steps": 3}}} if small else {}
    took, results = dict[str, float](), {}
    with tempfile.TemporaryDirectory() as place:
        runs = {"cpu": ("cpu", "1")} | (GPU_RUNS if GPU.type == "cuda" else {})
        for name, (device, workers) in runs.items():
            (Path(place) / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **settings}))
            words = [sys.executable, "-m", "mossa.cli", "run", f"{name}.yaml", "--no-report"]
            words += ["--device", device, "--workers", workers]
            start = time.perf_counter()
            if name == "two":
                halfway = subprocess.Popen(
                    [sys.executable, "-m", "mossa.cli", *words], cwd=place, start_new_session=True
                )
                time.sleep(took["one"] / 2)
                os.killpg(halfway.pid, signal.SIGKILL)
                halfway.wait()
            done = subprocess.run(words, cwd=place, check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(
                    f"{' '.join(words)} ends with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
                )
            took[name] = time.perf_counter() - start
            yield {f"{name}, seconds": took[name]}
            results[name] = pd.read_parquet(Path(place) / f"runs/{name}/results/similarity.parquet")
    cpu = results.pop("cpu")
    yield {"rows with a value": int(cpu["value"].notna().sum())}
    for name, table in results.items():
        yield {f"{name}, same to the bit as one": bool(table.equals(results["one"]))}
        yield {f"{name}, largest difference from cpu": float((table["value"] - cpu["value"]).abs().max())}


def suite(small: bool) -> Iterator[Found]:
    """The tests of training, representations and similarity where `auto` means the GPU."""
    if small or importlib.util.find_spec("pytest") is None:
        yield {"left out": "a rehearsal runs inside of the tests" if small else "pytest is not installed here"}
        return
    root = Path(__file__).parents[1]
    words = ["-m", "pytest", "-q", "-W", "default", "tests/test_gpu.py", *(f"tests/{room}" for room in TESTED)]
    words += ["-n", str(min(os.cpu_count() or 1, 8))] if importlib.util.find_spec("xdist") else []
    done = subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    yield {"exit code": done.returncode, "last line": (done.stdout.strip().splitlines() or ["nothing"])[-1]}


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
