"""How fast a GPU trains, extracts and compares, and what share of its measured matrix products that is.

    python benchmarks/gpu.py [--shape 7b] [--shape 1b] [--json FILE] [--small]

Models of Llama-2-7B's and Llama-3.2-1B's shape with random weights in bfloat16 run through the functions that a study
uses. Operations are counted as `mossa plan` counts them. The rate that shares are of is measured here, before each
shape, by a large bfloat16 matrix product. `--small` rehearses everything with a tiny model on whatever is here: it
shows that the code runs, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mossa.cost.work import forward_work, training_work
from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase
from mossa.models.batches import Allowance
from mossa.models.prompts import Encoded
from mossa.models.shape import Shape, shape_of
from mossa.representations import represent_tokens
from mossa.similarity import compare
from mossa.study.recipe import RECIPES, Budget, Recipe
from mossa.study.schema import Base
from mossa.training.train import train_adapter

SHAPES = {  # width, feed-forward, layers, heads, heads of keys and values, vocabulary, tied embeddings
    "7b": (4096, 11008, 32, 32, 32, 32000, False),
    "1b": (2048, 8192, 16, 32, 8, 128256, True),
    "small": (64, 128, 3, 4, 2, 320, False),
}
FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
FIELDS += ("vocab_size", "tie_word_embeddings")
WARM = 3  # optimizer steps before the clock starts


@dataclass(frozen=True)
class Size:
    """How much is measured: optimizer steps after the warm ones, prompts, their tokens, the side of a matrix."""

    steps: int
    prompts: int
    shortest: int
    longest: int
    side: int


FULL, REHEARSAL = Size(12, 1000, 128, 512, 8192), Size(2, 12, 8, 24, 256)


def finish(device: torch.device) -> float:
    """Wait until the device has done everything; return the time in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(device: torch.device, do: Callable[[], object]) -> float:
    """Return how long `do` takes, once it has run before."""
    do()
    start = finish(device)
    do()
    return finish(device) - start


def matmul_rate(device: torch.device, side: int, repeats: int = 20) -> float:
    """Return the operations per second of a square bfloat16 matrix product."""
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        for _ in range(repeats):
            torch.matmul(one, other)

    return 2.0 * side**3 * repeats / seconds(device, multiply)


def some_prompts(count: int, size: Size, vocabulary: int, targets: int) -> list[Encoded]:
    """Return prompts of random tokens and lengths, each followed by some targets."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(size.shortest, size.longest + 1, (count,), generator=random).tolist()
    return [
        Encoded(torch.randint(3, vocabulary, (length + targets,), generator=random).tolist(), length, False, index)
        for index, length in enumerate(lengths)
    ]


def measure(name: str, device: torch.device, size: Size) -> dict[str, object]:
    """Return the figures of one shape."""
    named = dict(zip(FIELDS, SHAPES[name], strict=True))
    config = AutoConfig.for_model("llama", max_position_embeddings=4096, **named)
    recipe = Recipe.model_validate(RECIPES["paper"])
    allowance = Allowance()
    with tempfile.TemporaryDirectory() as place:
        config.save_pretrained(place)
        shape = shape_of(Base(model=place, dtype="bfloat16"), recipe.lora)
        rate = matmul_rate(device, size.side)
        with device:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval().requires_grad_(False)
        base = LoadedBase(model, None, shape.layers, shape.width, 4096)
        adapter = Path(place) / "adapter"
        trained = training(base, shape, recipe, size, config.vocab_size, adapter, allowance)
        extracted, arrays = extraction(base, shape, size, config.vocab_size, adapter, allowance)
    return {
        "shape": name,
        "weights": shape.weights,
        "matmul_tflops": rate / 1e12,
        "training_tokens_per_second": trained[0],
        "training_share": trained[1] / rate,
        "extraction_prompts_per_second": extracted[0],
        "extraction_share": extracted[1] / rate,
        "compare_seconds_on_device": comparison(arrays, device),
        "compare_seconds_on_cpu": comparison(arrays, torch.device("cpu")),
        "compared": {"n": size.prompts, "layers": shape.layers, "d": shape.width, "models": 1},
        "halvings_for_want_of_memory": allowance.halvings,
        "peak_gigabytes": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
    }


def training(
    base: LoadedBase, shape: Shape, recipe: Recipe, size: Size, vocabulary: int, adapter: Path, allowance: Allowance
) -> tuple[float, float]:
    """Train an adapter; return tokens and operations per second over the steps after the warm ones."""
    total = WARM + size.steps
    examples = some_prompts(recipe.batch_size * total, size, vocabulary, targets=12)
    ticks: list[float] = []
    train_adapter(
        base,
        examples,
        [],
        recipe,
        Budget(steps=total),
        0,
        adapter,
        on_step=lambda *_: ticks.append(finish(base.device)),
        allowance=allowance,
    )
    whole, warm = (training_work(examples, steps, recipe, 0, shape, base.device.type) for steps in (total, WARM))
    spent = ticks[-1] - ticks[WARM - 1]
    return (whole.tokens - warm.tokens) / spent, (whole.operations - warm.operations) / spent


def extraction(
    base: LoadedBase, shape: Shape, size: Size, vocabulary: int, adapter: Path, allowance: Allowance
) -> tuple[tuple[float, float], dict[str, torch.Tensor]]:
    """Represent prompts; return prompts and operations per second with the adapter on, and base and adapted arrays."""
    prompts = some_prompts(size.prompts, size, vocabulary, targets=0)
    tokens = [prompt.tokens for prompt in prompts]
    arrays = {"pretrained": represent_tokens(base.model, tokens, allowance=allowance)}

    def represent() -> None:
        arrays["control"] = represent_tokens(adapted, tokens, allowance=allowance)

    with loaded_adapter(base, adapter) as adapted:
        spent = seconds(base.device, represent)
    work = forward_work(prompts, shape, base.device.type, adapted=True, judged=False)
    return (len(prompts) / spent, work.operations / spent), arrays


def comparison(arrays: dict[str, torch.Tensor], device: torch.device) -> float:
    """Return the seconds of comparing the two at all layers, plain and debiased with standard errors, on `device`."""
    here = {name: array.to(device) for name, array in arrays.items()}
    return seconds(device, lambda: compare({"pretrained": here["pretrained"]}, here["control"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=["7b", "1b"], help="default: both")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--small", action="store_true", help="rehearse with a tiny model, also on the CPU")
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available():
        print(
            "benchmarks/gpu.py measures a GPU, and torch finds none here. --small rehearses on the CPU.",
            file=sys.stderr,
        )
        sys.exit(2)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    called = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    print(f"{datetime.date.today()}  {called}  torch {torch.__version__}" + ("  REHEARSAL" if arguments.small else ""))
    rows = []
    for name in ["small"] if arguments.small else arguments.shape or ["7b", "1b"]:
        rows.append(measure(name, device, REHEARSAL if arguments.small else FULL))
        for key, value in rows[-1].items():
            print(f"  {key:32} {f'{value:,.4g}' if isinstance(value, float) else value}", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    if arguments.json:
        size = asdict(REHEARSAL if arguments.small else FULL)
        made = {"date": datetime.date.today().isoformat(), "device": called, "rehearsal": arguments.small, "size": size}
        arguments.json.write_text(json.dumps(made | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
