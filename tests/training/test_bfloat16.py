"""Training a bfloat16 base on a CPU: short sequences by plain attention, large bases in small micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mossa.models.adapters import new_adapter
from mossa.models.base import load_base
from mossa.models.prompts import Encoded
from mossa.study.recipe import Lora, Recipe
from mossa.study.schema import Base
from mossa.training import loss
from mossa.training.activations import checkpointing
from mossa.training.loss import LARGE, LARGE_BUDGET, SHORT, TOKEN_BUDGET, backward, token_budget
from tests.training.test_gradient import some_examples


def gradients(folder: Path, dtype: Any, examples: list[Encoded], again: bool = False) -> torch.Tensor:
    """Return the gradient of an adapter whose B is not zero, all of it in one row."""
    base = load_base(Base(model=str(folder), dtype="bfloat16"))
    base.model.to(dtype)
    recipe = Recipe(lora=Lora(targets="all-linear"))
    with new_adapter(base, recipe.lora, 0) as adapted, checkpointing(base.model, again):
        adapted.train()
        weights = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        for parameter in weights:
            parameter.data = torch.sin(torch.arange(parameter.numel(), dtype=torch.float32)).view_as(parameter) / 20
        backward(adapted, examples, torch.device("cpu"))
        return torch.cat([parameter.grad.flatten() for parameter in weights if parameter.grad is not None])


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "mistral"])
def test_plain_attention_is_at_least_as_near_to_float32(
    architecture: str, base_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, examples = base_folder(architecture), some_examples()
    truth = gradients(folder, torch.float32, examples)
    plain = gradients(folder, torch.bfloat16, examples)
    assert torch.equal(plain, gradients(folder, torch.bfloat16, examples, again=True))
    monkeypatch.setattr(loss, "SHORT", 0)
    fused = gradients(folder, torch.bfloat16, examples)
    off = [float((found - truth).norm() / truth.norm()) for found in (plain, fused)]
    assert 0 < off[0] < 0.2 and off[0] < 1.5 * off[1], off
    assert not torch.equal(plain, fused)


@pytest.mark.parametrize(
    ("dtype", "tokens", "plain"),
    [(torch.bfloat16, SHORT, True), (torch.bfloat16, SHORT + 1, False), (torch.float32, 8, False)],
)
def test_plain_attention_is_for_short_sequences_in_bfloat16(dtype: torch.dtype, tokens: int, plain: bool) -> None:
    with loss._attention(torch.zeros(1, tokens, dtype=torch.long), dtype):
        fused = torch.backends.cuda.flash_sdp_enabled()
    assert fused != plain and torch.backends.cuda.flash_sdp_enabled()


def test_only_a_large_base_on_a_cpu_has_small_micro_batches() -> None:
    assert token_budget("cpu", LARGE) == LARGE_BUDGET < TOKEN_BUDGET["cpu"] == token_budget("cpu", LARGE - 1)
    assert token_budget("cuda", LARGE) == TOKEN_BUDGET["cuda"]
