"""Published numbers of GPUs, from the makers' data sheets, and what a study must set so that it fits one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mossa.errors import StudyError, choices
from mossa.models.base import load_config, load_tokenizer, longest_input
from mossa.models.dtype import LARGE
from mossa.models.prompts import Encoded, make_format
from mossa.models.shape import Shape, shape_of
from mossa.study.recipe import Lora
from mossa.study.schema import Base, Prompt
from mossa.study.starter import Fit
from mossa.tasks.task import Task
from mossa.training.activations import LOGITS, ROOM, activation_bytes
from mossa.training.loss import count_targets

SHARE = 0.99  # of the examples that the cutoff lets through whole
STEP = 64  # tokens; a cutoff is a multiple of it


@dataclass(frozen=True, slots=True)
class Gpu:
    """`bfloat16` and `float32` (without TF32): peak of 10¹² operations per second; `memory` in 10⁹ bytes."""

    bfloat16: float
    float32: float
    memory: float

    def peak(self, dtype: str) -> float:
        """Return the peak in operations per second for weights of this dtype."""
        return 1e12 * (self.bfloat16 if dtype == "bfloat16" else self.float32)


GPUS = {
    "a10": Gpu(125, 31.2, 24),
    "a100-40gb": Gpu(312, 19.5, 40),
    "a100-80gb": Gpu(312, 19.5, 80),
    "b200": Gpu(2250, 75, 180),
    "h100": Gpu(989, 67, 80),  # SXM
    "h100-pcie": Gpu(756, 51, 80),
    "h200": Gpu(989, 67, 141),
    "l4": Gpu(121, 30.3, 24),
    "l40s": Gpu(362, 91.6, 48),
    "mi300x": Gpu(1307, 163.4, 192),
    "rtx3090": Gpu(71, 35.6, 24),
    "rtx4090": Gpu(165, 82.6, 24),
}


def named_gpu(name: str) -> Gpu:
    """Return the GPU called `name`; raises `StudyError` with the choices."""
    if name.lower() not in GPUS:
        raise StudyError(f"--gpu {name}: mossa knows no such GPU. {choices(name.lower(), GPUS)}")
    return GPUS[name.lower()]


def found_gpu() -> str | None:
    """Return the table's name of the GPU in this machine, None if there is none or it is not in the table."""
    import torch

    if not torch.cuda.is_available():
        return None
    called = torch.cuda.get_device_name(0).lower().replace(" ", "").replace("-", "")
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    fitting = [name for name in GPUS if name.split("-")[0] in called and abs(GPUS[name].memory - memory) < 10]
    if "pcie" in called:
        fitting = [name for name in fitting if name.endswith("pcie")] or fitting
    return fitting[0] if fitting else None


def fit(base: Base, tasks: Sequence[Task], name: str, gpu: Gpu) -> Fit:
    """Return the settings with which a study of this base and these tasks fits a GPU.

    The cutoff is long enough for 99 of 100 examples. The base is quantised to 4 bits if in bfloat16 one sequence of
    that length does not fit, its activations computed again. Raises `StudyError` if it does not fit then either.
    """
    tokenizer = load_tokenizer(base)
    longest = longest_input(load_config(base), tokenizer)
    form = make_format(tokenizer, Prompt(), longest)
    examples = [each for task in tasks for each in form.encode(task.train + task.test, f"task {task.name!r}", True)]
    lengths = sorted(len(each.tokens) for each in examples)
    if not lengths:
        raise StudyError("--gpu: none of the examples fits the model, so there is nothing to fit to the GPU.")
    cutoff = min(longest, STEP * math.ceil(lengths[math.ceil(SHARE * len(lengths)) - 1] / STEP))
    over = sum(length > cutoff for length in lengths)
    for quantise in (None, "4-bit"):
        settings = base.model_copy(update={"dtype": "bfloat16", "quantise": quantise})
        shape = shape_of(settings, Lora())
        if shape.weights < LARGE:
            settings = base.model_copy(update={"dtype": "float32"})
        needed = least(shape, examples, cutoff)
        if needed <= ROOM * 1e9 * gpu.memory:
            wide = quantise is None and 3 * shape.weight_bytes <= ROOM * 1e9 * gpu.memory  # beside those in bfloat16
            return Fit(
                settings.dtype,
                quantise,
                cutoff,
                "float32" if wide else "base",
                (
                    f"{name}: {needed / 1e9:,.1f} of {gpu.memory:,.0f} GB at least, in {quantise or settings.dtype}.",
                    f"cutoff {cutoff}: {over} of {len(lengths)} examples are longer and would be skipped.",
                ),
            )
    others = ", ".join(other for other, found in GPUS.items() if ROOM * 1e9 * found.memory >= needed) or "none known"
    raise StudyError(
        f"--gpu {name}: even in 4 bits, one sequence of {cutoff} tokens needs {needed / 1e9:,.1f} GB of "
        f"{gpu.memory:,.0f}. GPUs that hold it: {others}. A smaller base would fit too."
    )


def least(shape: Shape, examples: Sequence[Encoded], cutoff: int) -> float:
    """Return the bytes that training on one sequence takes, activations computed again."""
    states = 4.0 * shape.width
    targets = max(count_targets([each]) for each in examples)
    kept = activation_bytes(shape.kept_per_token, shape.layers, states, cutoff, True)
    return shape.weight_bytes + 16.0 * shape.adapter_weights + kept + LOGITS * targets * shape.vocabulary
