"""Steps of `gpu_day.py` that ask how fast a GPU is: its rates, training, representations, comparisons."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch

from gpu import FULL, REHEARSAL, matmul_rate, measure, seconds
from gpu_models import GPU, Found, built, mixture, shaped, trained
from mossa.cost.gpus import found_gpu
from mossa.models.batches import Allowance
from mossa.similarity import compare, spectrum
from mossa.training import loss


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
