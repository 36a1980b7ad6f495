"""W + s B A in one product is PEFT's layer, forward and backward, and leaves alone what it cannot do exactly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from torch import nn

from mossa.models import fused_lora
from mossa.models.adapters import new_adapter
from mossa.models.fused_lora import FusedLoraLinear, combine
from mossa.study.recipe import Lora
from tests.training.test_gradient import double_base


def layers(width: int, out: int, rank: int, bias: bool, dtype: torch.dtype, **config: Any) -> tuple[Any, Any]:
    """Return one LoRA layer as PEFT made it, and a copy that combines; B is not zero."""
    torch.manual_seed(width + out)
    model = nn.ModuleDict({"one": nn.Linear(width, out, bias=bias)}).to(dtype)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=12, target_modules=["one"], **config), model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(dtype)
                parameter.normal_()
    other = copy.deepcopy(model)
    combine(other)
    return model["one"], other["one"]


def gradients(layer: Any, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    found = layer(x)
    (found * torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)).sum().backward()
    return [found.detach(), x.grad, layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad]


@settings(max_examples=25)
@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 12),
    out=st.integers(1, 12),
    rank=st.integers(1, 5),
    bias=st.booleans(),
)
def test_it_is_pefts_layer_forward_and_backward(rows: int, width: int, out: int, rank: int, bias: bool) -> None:
    peft, ours = layers(width, out, rank, bias, torch.float64)
    assert type(peft) is Linear and type(ours) is FusedLoraLinear
    x = torch.randn(2, rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    for expected, found in zip(gradients(peft, x), gradients(ours, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), peft(x), rtol=1e-11, atol=1e-11)


def times_combined(monkeypatch: pytest.MonkeyPatch, layer: Any, x: torch.Tensor) -> int:
    """Return how often `layer(x)` formed W + s B A."""
    times = 0
    form = torch.addmm

    def counted(*given: Any, **named: Any) -> torch.Tensor:
        nonlocal times
        times += 1
        return form(*given, **named)

    monkeypatch.setattr(fused_lora.torch, "addmm", counted)
    layer(x)
    monkeypatch.undo()
    return times


def test_it_combines_where_there_are_rows_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = layers(8, 8, 2, True, torch.float32)
    assert times_combined(monkeypatch, ours, torch.randn(1, 3, 8)) == 0
    assert times_combined(monkeypatch, ours, torch.randn(1, 4, 8)) == 1


def test_it_falls_back_where_the_sum_would_not_be_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 50, 8)
    _, dropping = layers(8, 8, 2, True, torch.float32, lora_dropout=0.5)
    assert times_combined(monkeypatch, dropping.train(), x) == 0
    assert times_combined(monkeypatch, dropping.eval(), x) == 1
    peft, mixed = layers(8, 8, 2, True, torch.float32)
    for layer in (peft, mixed):
        layer.base_layer.to(torch.bfloat16)
    assert times_combined(monkeypatch, mixed, x.bfloat16()) == 0
    assert torch.equal(mixed(x.bfloat16()), peft(x.bfloat16()))
    _, off = layers(8, 8, 2, True, torch.float32)
    off.enable_adapters(False)
    assert times_combined(monkeypatch, off, x) == 0
    assert torch.equal(off(x), off.base_layer(x))
    assert type(layers(8, 8, 2, True, torch.float32, use_dora=True)[1]) is Linear


@pytest.mark.parametrize(("architecture", "combines"), [("llama", True), ("gpt2", False)])
def test_adapters_of_a_model_combine_and_come_off(architecture: str, combines: bool) -> None:
    base = double_base(architecture)
    before = {name: type(module) for name, module in base.model.named_modules()}
    with new_adapter(base, Lora(targets="all-linear"), 0) as adapted:
        found = {type(module) for module in adapted.modules() if isinstance(module, Linear)}
        assert found == {FusedLoraLinear if combines else Linear}
    assert {name: type(module) for name, module in base.model.named_modules()} == before
