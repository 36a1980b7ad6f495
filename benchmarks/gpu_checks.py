"""Steps of `gpu_day.py` that ask whether results are right on a GPU: numbers, bits, memory, a study, the tests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig

from gpu_models import GPU, Found, built, far, mixture, shaped, trained
from mossa.errors import ModelError
from mossa.models.adapters import loaded_adapter
from mossa.models.batches import Allowance
from mossa.models.kernels import same_bits
from mossa.place import Stack, locate_update
from mossa.representations import represent_tokens
from mossa.training.evaluate import evaluate

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
