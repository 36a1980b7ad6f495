"""What a study must set so that it fits a GPU: number format, bits, the longest example."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mossa.cost.gpus import GPUS, Gpu
from mossa.errors import StudyError
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


def fit(base: Base, tasks: Sequence[Task], name: str, gpu: Gpu) -> Fit:
    """Return what a study of this base and these tasks sets for a GPU.

    The cutoff lets through what 99 of 100 examples need. The base is quantised to 4 bits if in bfloat16 one sequence of
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
