"""One-layer change and answer gain: exactly 0 where nothing changed, nothing of the layers above, and by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mossa.models.blocks import blocks_of
from mossa.place import Stack, locate_update
from mossa.place.change import one_layer_change, see
from mossa.similarity import cka
from tests.place.worlds import make_adapted, make_base, make_checkpoint, make_data
from tests.small import COMMON, GROUPED


@pytest.fixture(scope="module")
def data() -> list[Any]:
    return make_data(16)


@pytest.fixture(scope="module")
def base() -> Any:
    return make_base()


@pytest.fixture(scope="module")
def tuned(base: Any, data: list[Any]) -> Any:
    return make_checkpoint(base, ("layers.1.", "layers.2."), data)


def _table(stack: Stack, data: list[Any], **settings: Any) -> Any:
    return locate_update(stack, data, **settings).table.set_index(["reading", "layer"])


def _states(model: Any, data: list[Any], above: int) -> torch.Tensor:
    """Return what block `above` gives at the last prompt token, by Hugging Face alone, `[n, d]`."""
    seen: list[torch.Tensor] = []
    hook = blocks_of(model)[above - 1].register_forward_hook(lambda _m, _i, output: seen.append(output[0, -1]))
    with torch.no_grad():
        for each in data:
            model(input_ids=torch.tensor([list(each.tokens[: each.prompt_length])]))
    hook.remove()
    return torch.stack(seen)


def _with(model: Any, block: Any, layer: int) -> Any:
    mixed = copy.deepcopy(model)
    blocks_of(mixed)[layer - 1] = block
    return mixed


def test_the_two_by_two_is_what_models_with_one_block_exchanged_give(base: Any, tuned: Any, data: list[Any]) -> None:
    found = _table(Stack(base, tuned), data)
    for layer in (2, 3):
        outputs = {
            ("base", "base"): _states(base, data, layer),
            ("base", "tuned"): _states(_with(base, blocks_of(tuned)[layer - 1], layer), data, layer),
            ("tuned", "base"): _states(_with(tuned, blocks_of(base)[layer - 1], layer), data, layer),
            ("tuned", "tuned"): _states(tuned, data, layer),
        }
        for whose, said in (("tuned", ""), ("base", ", base input")):
            mine, theirs = outputs[whose, "base"], outputs[whose, "tuned"]
            expected = cka(theirs, mine, debiased=True)
            row = found.loc[f"one-layer-change{said}", layer]
            assert row["value"] == pytest.approx(1 - float(expected.value), abs=1e-5)
            assert row["low"] == pytest.approx(1 - float(expected.high), abs=1e-5)
            spread = float((mine - mine.mean(0)).norm())
            relative = float((theirs - mine).norm()) / spread
            assert found.loc[f"relative-change{said}", layer]["value"] == pytest.approx(relative, rel=1e-5)
        changes = [outputs[whose, "tuned"] - outputs[whose, "base"] for whose in ("tuned", "base")]
        spread = float((outputs["tuned", "base"] - outputs["tuned", "base"].mean(0)).norm())
        interaction = found.loc["change-interaction", layer]["value"]
        assert interaction == pytest.approx(float((changes[0] - changes[1]).norm()) / spread, rel=1e-4)


def test_blocks_that_take_keys_and_values_of_earlier_ones_take_those_of_the_model_whose_input_they_read() -> None:
    config = AutoConfig.for_model(
        "gemma4_text", **COMMON, **GROUPED, head_dim=8, global_head_dim=8, sliding_window=64, num_kv_shared_layers=1,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        hidden_size_per_layer_input=8, vocab_size_per_layer_input=96,
    )  # fmt: skip
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config).double().eval().requires_grad_(False)
    data, tuned = make_data(16), copy.deepcopy(base)
    for name, weight in blocks_of(tuned).named_parameters():
        if "self_attn" in name and weight.dim() == 2:
            weight += 0.05 * torch.randn_like(weight)
    seen = see(Stack(base, tuned), [each.tokens[: each.prompt_length] for each in data])
    models = {"base": base, "tuned": tuned}
    for (whose, block), found in seen.other.items():
        for layer in (1, 2, 3):
            mixed = _with(models[whose], blocks_of(models[block])[layer - 1], layer)
            torch.testing.assert_close(found[:, layer - 1], _states(mixed, data, layer).float(), rtol=1e-5, atol=1e-5)


def test_where_nothing_changed_it_is_exactly_zero_and_says_so(base: Any, tuned: Any, data: list[Any]) -> None:
    for stack in (Stack(base, tuned), Stack(None, make_adapted(base, (2, 3), data))):
        assert stack.changed == (False, False, True, True, False)
        found = _table(stack, data, window=3).reset_index()
        untouched = found[found["layer"].isin([1, 4]) & ~found["reading"].str.startswith("answer")]
        assert untouched[["value", "standard_error", "low", "high"]].eq(0).all().all()
        assert untouched["reason"].eq("no update at this layer").all()
        # up to layer 2 both models have the same input, so the change on the one is the change on the other
        same = found["reading"].eq("change-interaction") & found["layer"].eq(2)
        assert found[same]["value"].eq(0).all()
        assert (found[found["layer"].isin([2, 3]) & ~same]["value"].dropna() != 0).all()
        assert found[found["reading"].eq("answer-gain") & found["layer"].eq(1)]["value"].abs().max() < 1e-6


def test_layers_above_do_not_matter(base: Any, tuned: Any, data: list[Any]) -> None:
    other = make_base(seed=5)
    changed = _with(tuned, blocks_of(other)[2], 3)
    changed = _with(changed, blocks_of(other)[3], 4)
    prompts = [each.tokens[: each.prompt_length] for each in data]
    readings = []
    for model in (tuned, changed):
        stack = Stack(base, model)
        rows = one_layer_change(stack, see(stack, prompts))
        readings.append([row for row in rows if row["layer"] <= 2])
    assert readings[0] == readings[1]


def test_the_answer_is_read_with_each_models_own_norm_and_head(base: Any, data: list[Any]) -> None:
    tuned = make_checkpoint(base, ("layers.1.", "model.norm.weight", "lm_head"), data)
    found = _table(Stack(base, tuned), data)
    firsts = torch.tensor([each.tokens[each.prompt_length] for each in data])
    gains = []
    for layer in range(1, 5):
        losses = []
        for model in (base, tuned):
            logits = model.lm_head(model.model.norm(_states(model, data, layer)))
            losses.append(torch.nn.functional.cross_entropy(logits, firsts, reduction="none").numpy())
        gains.append(losses[0] - losses[1])
        assert found.loc["answer-gain", layer]["value"] == pytest.approx(gains[-1].mean(), abs=1e-5)
    increments = np.diff(gains, axis=0)
    for layer in (2, 3, 4):
        row = found.loc["answer-gain-increment", layer]
        assert row["value"] == pytest.approx(increments[layer - 2].mean(), abs=1e-5)
        error = increments[layer - 2].std(ddof=1) / len(data) ** 0.5
        assert row["standard_error"] == pytest.approx(error, rel=1e-3)


def test_an_adapter_and_its_merged_checkpoint_say_the_same(base: Any, data: list[Any]) -> None:
    adapted = make_adapted(base, (1, 3), data)
    merged = copy.deepcopy(adapted).merge_and_unload()
    tables = [_table(Stack(*pair), data, parts=True) for pair in ((None, adapted), (base, merged), (base, adapted))]
    for other in tables[1:]:
        assert tables[0]["reason"].equals(other["reason"])
        assert (tables[0]["value"] - other["value"]).abs().max() < 1e-5


def test_templates_are_taken_out(base: Any, tuned: Any, data: list[Any]) -> None:
    templates = ["one", "two"] * (len(data) // 2)
    found = _table(Stack(base, tuned), data, templates=templates, readings=["one-layer-change"])
    mine, theirs = _states(_with(tuned, blocks_of(base)[1], 2), data, 2), _states(tuned, data, 2)
    expected = cka(theirs, mine, debiased=True, groups=templates)
    assert found.loc["one-layer-change", 2]["value"] == pytest.approx(1 - float(expected.value), abs=1e-5)


def test_a_random_update_is_read_beside_the_real_one(base: Any, tuned: Any, data: list[Any]) -> None:
    found = _table(Stack(base, tuned), data, null=True, readings=["one-layer-change"])
    assert found.loc["one-layer-change, random", 2]["value"] > 0 == found.loc["one-layer-change, random", 1]["value"]
