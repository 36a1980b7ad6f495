"""A graft adds up to the gain, and is what putting whole models together by hand gives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from mossa.models.blocks import blocks_of
from mossa.place import Stack
from mossa.place.estimates import ratio
from mossa.place.exchange import block_runs, exchanged_losses
from mossa.place.graft import graft
from tests.place.worlds import (
    LAYERS,
    brute_force,
    exchanged,
    make_adapted,
    make_base,
    make_checkpoint,
    make_data,
    plain_loss,
)
from tests.small import ARCHITECTURES

ALL = tuple(range(1, LAYERS + 1))


@pytest.fixture(scope="module")
def data() -> list[Any]:
    return make_data()


@pytest.fixture(scope="module")
def base() -> Any:
    return make_base()


@pytest.fixture(scope="module")
def adapted(base: Any, data: list[Any]) -> Any:
    return make_adapted(base, ALL, data)


@pytest.fixture(scope="module")
def checkpoint(base: Any, data: list[Any]) -> Any:
    return make_checkpoint(base, ("layers.1.", "layers.2.mlp", "embed", "model.norm.weight", "lm_head"), data)


def _values(found: Any, reading: str) -> dict[int, float]:
    return {row["layer"]: row["value"] for row in found.rows if row["reading"] == reading}


@pytest.mark.parametrize("kind", ["adapter", "checkpoint"])
def test_a_graft_is_what_models_put_together_by_hand_give(kind: str, base, adapted, checkpoint, data) -> None:
    if kind == "adapter":
        stack, players = Stack(None, adapted), list(ALL)
        known = brute_force(base, copy.deepcopy(adapted).merge_and_unload(), data, players)
    else:
        stack, players = Stack(base, checkpoint), [0, 2, 3]
        known = brute_force(base, checkpoint, data, players)
    found = graft(stack, data)
    assert found.gain is not None and found.gain.low > 0
    for reading in ("leave-one-out", "add-one-in", "first-k", "last-k", "shapley"):
        values = _values(found, reading)
        assert values == pytest.approx(dict.fromkeys(values, 0.0) | known[reading], abs=1e-9), reading
    for reading in ("first-k", "last-k", "shapley"):
        assert sum(_values(found, reading).values()) == pytest.approx(found.gain.value, abs=1e-9)
    assert found.gain.value == pytest.approx(known["gain"][0], abs=1e-9)


def test_more_layers_than_are_exact_are_sampled_and_still_add_up(
    adapted, data: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = graft(Stack(None, adapted), data)
    monkeypatch.setattr("mossa.place.graft.EXACT", LAYERS - 1)
    sampled = graft(Stack(None, adapted), data)
    assert sampled.gain == exact.gain
    assert sum(_values(sampled, "shapley").values()) == pytest.approx(exact.gain.value, abs=1e-9)
    for one, other in zip(sampled.rows, exact.rows, strict=True):
        if one["reading"] != "shapley":
            assert one == pytest.approx(other)
        else:
            assert one["value"] != other["value"] and one["standard_error"] > other["standard_error"] * 0.5
            assert abs(one["value"] - other["value"]) < 4 * one["standard_error"]


def test_a_value_has_the_standard_error_of_a_ratio_over_prompts() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 6, 200).astype(float)
    gains = tokens * 0.5 + rng.normal(size=200)
    drawn = rng.integers(0, 200, (4000, 200))
    bootstrap = (gains[drawn].sum(1) / tokens[drawn].sum(1)).std()
    found = ratio(gains, tokens)
    assert found.value == pytest.approx(gains.sum() / tokens.sum())
    assert found.standard_error == pytest.approx(bootstrap, rel=0.05)
    assert ratio(gains, tokens, 0.3**2).standard_error == pytest.approx((found.standard_error**2 + 0.09) ** 0.5)


def test_too_few_finite_losses_give_the_reason(adapted, data, monkeypatch: pytest.MonkeyPatch) -> None:
    def three_finite(*given: Any) -> Any:
        losses = exchanged_losses(*given)
        losses[3:, 1] = np.inf
        return losses

    monkeypatch.setattr("mossa.place.graft.exchanged_losses", three_finite)
    found = graft(Stack(None, adapted), data)
    assert found.gain is None and len(found.rows) == 5 * LAYERS
    for row in found.rows:
        assert row["value"] is None and row["n"] == 3
        assert row["reason"] == "only 3 prompts have finite losses; 4 are needed"


def test_windows_are_the_layers_around_and_those_that_suffice_are_found(base, adapted, data) -> None:
    found = graft(Stack(None, adapted), data, window=3)
    merged = copy.deepcopy(adapted).merge_and_unload()
    tokens = sum(len(each.tokens) - each.prompt_length for each in data)

    def gain(layers: set[int]) -> float:
        return -sum(float(plain_loss(exchanged(base, merged, layers), each)) for each in data) / tokens

    assert _values(found, "add-window-in")[1] == pytest.approx(gain({1, 2}) - gain(set()), abs=1e-9)
    assert _values(found, "leave-window-out")[3] == pytest.approx(gain(set(ALL)) - gain({1}), abs=1e-9)
    whole = gain(set(ALL)) - gain(set())
    first, last = found.sufficient
    assert (gain(set(range(first, last + 1))) - gain(set())) / whole >= 0.9
    for start in range(1, LAYERS + 2 - (last - first)):  # nothing shorter would do
        shorter = set(range(start, min(start + last - first, LAYERS + 1)))
        assert not shorter or (gain(shorter) - gain(set())) / whole < 0.9
    first, last = found.necessary
    assert (gain(set(ALL) - set(range(first, last + 1))) - gain(set())) / whole <= 0.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_taken_apart(architecture: str, data: list[Any]) -> None:
    base, tuned = (make_base(3, architecture, seed) for seed in (0, 1))
    exact = architecture != "mixtral"  # torch groups the products of experts in float32 at most
    if not exact:
        base, tuned = base.float(), tuned.float()
    stack = Stack(base, tuned)
    stack.check([each.tokens[: each.prompt_length] for each in data])
    choices = [("base",) * 4, ("tuned",) * 4, ("base", "base", "tuned", "base")]
    losses = exchanged_losses(stack, data[:5], choices)
    mixed = copy.deepcopy(base)
    blocks_of(mixed)[1] = blocks_of(tuned)[1]
    for column, model in enumerate((base, tuned, mixed)):
        alone = [float(plain_loss(model, each)) for each in data[:5]]
        assert losses[:, column] == pytest.approx(alone, rel=1e-9 if exact else 1e-5)


def test_what_models_have_in_common_is_run_once(adapted, data, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(None, adapted)
    ran: list[int] = []
    run = Stack.run
    monkeypatch.setattr(Stack, "run", lambda self, layer, *rest: ran.append(layer) or run(self, layer, *rest))
    choices = [("base",) * 5, ("base", "base", "base", "base", "tuned"), ("base", "tuned", "base", "base", "base")]
    exchanged_losses(stack, data[:3], choices)
    assert len(ran) == block_runs(choices) == 9


def test_parts_are_exchanged_apart_and_a_random_update_is_as_large(base, adapted, data) -> None:
    only = make_adapted(base, (2,), data, modules=("q_proj", "v_proj"))
    stack = Stack(None, only)
    whole, attention, rest = (graft(stack, data, variant=part) for part in ("tuned", "attention", "feed-forward"))
    own = [row["value"] for row in whole.rows if row["layer"] == 2]
    assert [row["value"] for row in attention.rows if row["layer"] == 2] == pytest.approx(own)
    assert {row["reading"] for row in attention.rows} == {f"{name}, attention" for name in ("leave-one-out",
            "add-one-in", "first-k", "last-k", "shapley")}  # fmt: skip
    assert all(row["value"] is None and "no gain to share" in row["reason"] for row in rest.rows)
    for model in (Stack(None, adapted), Stack(base, make_checkpoint(base, ("layers.2.",), data))):
        drawn, tuned, first = (model.block(3, variant) for variant in ("random", "tuned", "base"))
        if any("lora" in name for name, _ in tuned.named_parameters()):
            norms = [
                [float(each.get_delta_weight("default").norm()) for each in block.modules() if hasattr(each, "lora_A")]
                for block in (drawn, tuned)
            ]
        else:
            pairs = [dict(block.named_parameters()) for block in (drawn, tuned)]
            before = dict(first.named_parameters())
            norms = [[float((pair[name] - before[name]).norm()) for name in before] for pair in pairs]
        assert norms[0] == pytest.approx(norms[1], rel=1e-6) and sum(norms[0]) > 0
    null = graft(Stack(None, adapted), data, null=True)
    assert set(_values(null, "add-one-in-null")) == set(ALL)


def test_a_random_update_of_experts_is_as_large_as_theirs() -> None:
    experts = make_base(architecture="mixtral").float()
    config = LoraConfig(r=4, target_modules=[], target_parameters=["mlp.experts.down_proj", "mlp.experts.gate_up_proj"])
    tuned = get_peft_model(copy.deepcopy(experts), config)
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_" in name:  # experts differ in how much they learned
            size = torch.linspace(1, 20, weight.shape["lora_B" in name])
            weight.data = torch.randn_like(weight) * (size if "lora_B" in name else size[:, None])
    stack = Stack(None, tuned.requires_grad_(False))
    norms = [
        [float(each.get_delta_weight("default").norm()) for each in block.modules() if hasattr(each, "lora_A")]
        for block in (stack.block(1, "random"), stack.block(1, "tuned"))
    ]
    assert len(norms[0]) == 2
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
