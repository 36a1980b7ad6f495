"""The models and examples that the steps of `gpu_day.py` run on, and one training with the paper's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gpu import FIELDS, SHAPES, finish
from mossa.models.base import LoadedBase
from mossa.models.prompts import Encoded
from mossa.study.recipe import RECIPES, Budget, Recipe
from mossa.training.train import Trained, train_adapter

Found = dict[str, Any]
"""What a step found so far: figures and sentences by what they are of."""
GPU = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


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
