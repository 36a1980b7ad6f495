"""Models that are another function of every token once a batch is long: found by their settings, or seen in use."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import (
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MiniMaxConfig,
    MiniMaxForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    Phi3Config,
    Phi3ForCausalLM,
)

from mossa.errors import ModelError
from mossa.models.batches import border_of, by_length, least_filled
from mossa.models.prompts import Encoded
from mossa.paired.reading import read
from mossa.place import Stack
from mossa.place.exchange import Choice, exchanged_losses
from mossa.representations import check_alone, represent_tokens
from mossa.training.loss import backward, token_losses
from tests.small import hidden_states, make_model

SMALL = {"vocab_size": 96, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
SMALL |= {"intermediate_size": 48, "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8}
LONG |= {"long_factor": [1.1, 1.3, 2.0, 5.0, 12.0, 30.0, 50.0, 64.0]}


def wide(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.2, generator=generator)
    return model.eval()


def phi3(original: int = 48) -> Any:
    config = Phi3Config(
        **SMALL, max_position_embeddings=256, original_max_position_embeddings=original, rope_parameters=dict(LONG)
    )
    return wide(Phi3ForCausalLM(config))


def prompts(lengths: list[int], shared: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    beginning = torch.randint(3, 90, (shared,), generator=generator).tolist()
    return [beginning + torch.randint(3, 90, (length,), generator=generator).tolist() for length in lengths]


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.parametrize("shared", [0, 40, 60])
@pytest.mark.parametrize("lengths", [[4, 47, 48, 49], [10, 49, 60, 60, 100], [2, 3, 5], [90, 91, 90]])
def test_longrope_represents_each_prompt_as_alone(lengths: list[int], shared: int) -> None:
    model, given = phi3(), prompts(lengths, shared)
    expected = hidden_states(model, given)
    for budget in (1, 120, 100_000):
        found = represent_tokens(model, given, token_budget=budget)
        assert error(found, expected) < 1e-5
        check_alone(model, given, found)


def test_longrope_is_a_case_that_matters() -> None:
    model = phi3()
    one, other = prompts([40, 60])
    with torch.no_grad():
        padded = torch.tensor([one + [0] * 20, other])
        among = model(input_ids=padded, output_hidden_states=True).hidden_states[2][0, 39]
    assert error(among[None], hidden_states(model, [one])[:, 1]) > 0.05


def test_losses_and_gradients_do_not_cross_the_border_either() -> None:
    model, device = phi3().double(), torch.device("cpu")
    given = [Encoded(tokens, len(tokens) - 3, False, place) for place, tokens in enumerate(prompts([40, 48, 49, 70]))]
    losses, _ = token_losses(model, given, device)
    alone = [token_losses(model, [each], device)[0][0] for each in given]
    assert losses == pytest.approx(alone, rel=1e-5)
    weight = model.model.layers[0].self_attn.qkv_proj.weight
    backward(model, given, device)
    together, weight.grad = weight.grad, None
    for each in given:
        ids = torch.tensor([each.tokens])
        loss = functional.cross_entropy(model(input_ids=ids).logits[0, -4:-1], ids[0, -3:], reduction="sum") / 12
        loss.backward()
    torch.testing.assert_close(together, weight.grad, rtol=1e-6, atol=1e-9)


def test_blocks_are_taken_apart_on_the_same_side_of_the_border_as_alone() -> None:
    base = phi3()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for layer in tuned.model.layers:
            layer.mlp.down_proj.weight.mul_(1.3)
    stack = Stack(base, tuned)
    sequences = prompts([40, 48, 49, 70, 70])
    given = [Encoded(tokens, len(tokens) - 3, False, place) for place, tokens in enumerate(sequences)]
    choices: list[Choice] = [("base", "base", "base"), ("base", "tuned", "base")]
    together, alone = (
        np.concatenate([exchanged_losses(stack, part, choices) for part in parts])
        for parts in ([given], [[each] for each in given])
    )
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    found, single = read(stack, given), [read(stack, [each]) for each in given]
    for column in ("loss_before", "loss_after"):
        assert list(found.answers[column]) == pytest.approx([float(one.answers[column][0]) for one in single], rel=1e-5)
    for own, others in (
        (found.seen.own["tuned"][:, 1:], [one.seen.own["tuned"][:, 1:] for one in single]),
        (found.seen.other["tuned", "base"], [one.seen.other["tuned", "base"] for one in single]),
    ):
        assert error(own, torch.cat(others)) < 1e-5


@given(
    lengths=st.lists(st.integers(1, 40), max_size=30),
    budget=st.integers(1, 200),
    border=st.integers(1, 45),
    each=st.one_of(st.none(), st.integers(0, 100)),
)
def test_beyond_the_border_only_equals_share_a_batch(
    lengths: list[int], budget: int, border: int, each: int | None
) -> None:
    groups = by_length(lengths, budget, border) if each is None else least_filled(lengths, budget, each, border)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        sizes = {lengths[index] for index in group}
        assert max(sizes) <= border or len(sizes) == 1
        assert len(group) == 1 or len(group) * max(sizes) <= budget
    within = [length for length in lengths if length <= border]  # the border changes nothing for what is within it
    assert by_length(within, budget, border) == by_length(within, budget)


@pytest.mark.parametrize(
    ("settings", "border"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"max_position_embeddings": 512, "rope_parameters": {"original_max_position_embeddings": 64}}, 64),
        ({"max_position_embeddings": 512, "rope": {"full": {"original_max_position_embeddings": 32}}}, 32),
        ({"max_position_embeddings": 32768, "seq_length": 8192, "use_logn_attn": True}, 8192),
        ({"max_position_embeddings": 32768, "training_seq_len": 2048}, 2048),
        ({"n_positions": 256, "train_length": True, "max_relative_positions": -1}, 256),
        ({"hidden_size": 8, "sliding_window": 4}, math.inf),
    ],
)
def test_the_border_is_the_lowest_number_of_positions_in_the_settings(settings: dict, border: float) -> None:
    config = SimpleNamespace(to_dict=lambda: settings, get_text_config=lambda: config)
    assert border_of(SimpleNamespace(config=config), 10**9) == border


def test_dynamic_ntk_is_refused_where_it_depends_on_what_was_read_before() -> None:
    config = LlamaConfig(
        **SMALL, max_position_embeddings=64, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    )
    model = wide(LlamaForCausalLM(config))
    within = prompts([10, 63, 64])
    assert error(represent_tokens(model, within, token_budget=1000), hidden_states(model, within)) < 1e-5
    for call in (
        lambda: represent_tokens(model, prompts([10, 65])),
        lambda: token_losses(model, [Encoded(prompts([65])[0], 60, False, 0)], torch.device("cpu")),
    ):
        with pytest.raises(ModelError, match=r"65 tokens: beyond 64, .*dynamic NTK.*prompt\.cutoff"):
            call()


def test_a_kind_that_no_setting_tells_is_seen() -> None:
    model = make_model("llama")
    layer = model.model.layers[1]

    def scaled(_layer: Any, _inputs: Any, output: Any) -> Any:  # logN: a function of the batch's length
        hidden = output[0] if isinstance(output, tuple) else output
        return hidden * math.log(max(hidden.shape[1], 20), 20)

    handle = layer.register_forward_hook(scaled)
    short, mixed = prompts([5, 12, 19]), prompts([5, 12, 40])
    found = represent_tokens(model, short)
    check_alone(model, short, found)
    found = represent_tokens(model, mixed)
    with pytest.raises(
        ModelError, match=r"a prompt of 5 tokens gives other states among 3 than alone .*prompt\.cutoff"
    ):
        check_alone(model, mixed, found)
    handle.remove()
    check_alone(model, mixed, represent_tokens(model, mixed))


def test_a_model_with_a_cache_of_its_own_goes_the_long_way() -> None:
    settings = {**SMALL, "num_hidden_layers": 4, "head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1}
    model = wide(MiniMaxForCausalLM(MiniMaxConfig(**settings, max_position_embeddings=128)))
    given = prompts([3, 9, 20], shared=40)
    assert error(represent_tokens(model, given), hidden_states(model, given)) < 1e-4


def test_blocks_that_give_lists_are_read_and_those_that_give_more_are_refused() -> None:
    config = OpenAIGPTConfig(vocab_size=96, n_positions=128, n_embd=32, n_layer=3, n_head=4)
    gpt, given = wide(OpenAIGPTLMHeadModel(config)), prompts([3, 9, 20], shared=40)
    assert error(represent_tokens(gpt, given), hidden_states(gpt, given)) < 1e-5
    config = Gemma3nTextConfig(
        **{**SMALL, "num_hidden_layers": 5, "intermediate_size": [48] * 5},
        vocab_size_per_layer_input=96,
        num_kv_shared_layers=0,
        layer_types=["sliding_attention"] * 4 + ["full_attention"],
        head_dim=8,
        hidden_size_per_layer_input=8,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * 5,
        max_position_embeddings=128,
    )
    with pytest.raises(ModelError, match=r"gives \[4, 1, 49, 32\], not one state of width 32 per token"):
        represent_tokens(Gemma3nForCausalLM(config).eval(), given[1:2])
