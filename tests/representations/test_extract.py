"""Representations equal Hugging Face's own hidden states, one prompt at a time, on every architecture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from mossa.errors import ModelError
from mossa.models.batches import border_of
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.prefix import WORTH, common_prefix
from mossa.models.prompts import Encoded, targets_of
from mossa.representations.extract import check_alone, is_one_pass, represent_and_score, represent_tokens
from mossa.training.loss import token_losses
from tests.small import ARCHITECTURES, hidden_states, make_model

LENGTHS = [3, 17, 5, 40, 5, 2, 29, 11]


def some_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 60, (length,), generator=generator).tolist() for length in LENGTHS]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batched_equals_one_at_a_time(architecture: str) -> None:
    model = make_model(architecture)
    prompts = some_prompts()
    found = represent_tokens(model, prompts, token_budget=64)
    expected = hidden_states(model, prompts)
    assert found.shape == (len(prompts), 3, 32)
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 1e-5


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_raw_last_layer_is_the_last_block_and_normed_is_after_the_norm(architecture: str) -> None:
    model = make_model(architecture)
    prompts = some_prompts()
    seen: list[torch.Tensor] = []
    handle = blocks_of(model)[-1].register_forward_hook(
        lambda _m, _i, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    expected = []
    for prompt in prompts:
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt]))
        expected.append(seen[-1][0, -1])
    handle.remove()
    raw = represent_tokens(model, prompts, last_layer="raw")
    normed = represent_tokens(model, prompts, last_layer="normed")
    torch.testing.assert_close(raw[:, -1], torch.stack(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(raw[:, :-1], normed[:, :-1], rtol=0, atol=0)
    assert (raw[:, -1] - normed[:, -1]).abs().max() > 1e-2
    if architecture == "llama":  # so the one can be made from the other
        torch.testing.assert_close(decoder_of(model).norm(raw[:, -1]), normed[:, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_model_that_projects_its_last_layer_is_compared_before_the_projection(norm_first: bool) -> None:
    torch.manual_seed(0)
    changes = {"word_embed_proj_dim": 16, "do_layer_norm_before": norm_first}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("opt", **{**ARCHITECTURES["opt"], **changes})).eval()
    prompts = some_prompts()
    with pytest.raises(ModelError, match=r"from 32 to 16 dimensions\. Set representations\.last_layer: raw"):
        represent_tokens(model, prompts)
    found = represent_tokens(model, prompts, last_layer="raw", token_budget=64)
    seen: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda _m, _i, output: seen.append(output[0])) for block in blocks_of(model)]
    for row, prompt in zip(found, prompts, strict=True):
        seen.clear()
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt]))
        last = torch.stack([(states if states.dim() == 2 else states[0])[-1] for states in seen])
        torch.testing.assert_close(row, last, rtol=1e-4, atol=1e-5)
    for hook in hooks:
        hook.remove()


def test_the_batch_shape_is_a_function_of_the_lengths_alone() -> None:
    model = make_model("llama")
    prompts = some_prompts()
    first = represent_tokens(model, prompts, token_budget=64)
    again = represent_tokens(model, prompts, token_budget=64)
    assert torch.equal(first, again)


def test_no_prompts_give_an_empty_array() -> None:
    assert represent_tokens(make_model("llama"), []).shape == (0, 3, 32)


def test_bfloat16_is_returned_as_float32() -> None:
    model = make_model("llama").to(torch.bfloat16)
    found = represent_tokens(model, some_prompts())
    assert found.dtype == torch.float32 and bool(torch.isfinite(found).all())


def with_beginning(tokens: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    beginning = torch.randint(3, 60, (tokens,), generator=generator).tolist()
    return [beginning + prompt for prompt in some_prompts()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_beginning_that_all_share_changes_nothing(architecture: str) -> None:
    model = make_model(architecture)
    prompts = with_beginning(40)
    found = represent_tokens(model, prompts, token_budget=100)
    expected = hidden_states(model, prompts)
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 1e-5


@pytest.mark.parametrize("beginning", [0, 40])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_pass_gives_what_two_give(architecture: str, beginning: int) -> None:
    model = make_model(architecture)
    prompts = with_beginning(beginning)
    examples = [
        Encoded([*prompt, *prompt[: 1 + place % 4], 2], len(prompt), False, place)
        for place, prompt in enumerate(prompts)
    ]
    assert is_one_pass(model, [Encoded(prompt, len(prompt), False, at) for at, prompt in enumerate(prompts)], examples)
    found, scores = represent_and_score(model, examples)
    expected = hidden_states(model, prompts)
    assert ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max() < 1e-5
    check_alone(model, prompts, found, behind=targets_of(examples))
    assert token_losses(model, examples, torch.device("cpu")) == scores  # to the bit: the same batches
    for example, loss, exact in zip(examples, *scores, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.tokens])).logits[0, example.prompt_length - 1 : -1]
        labels = torch.tensor(example.tokens[example.prompt_length :])
        assert loss == pytest.approx(float(functional.cross_entropy(logits, labels, reduction="sum")), rel=1e-4)
        assert exact == bool((logits.argmax(-1) == labels).all())


def test_one_pass_needs_the_same_prompts_and_lengths_that_the_model_takes() -> None:
    model = make_model("llama")
    prompts = [Encoded([3] * length, length, False, at) for at, length in enumerate((5, 9))]
    behind = [Encoded([*each.tokens, 7, 2], each.prompt_length, False, each.index) for each in prompts]
    assert is_one_pass(model, prompts, behind)
    assert not is_one_pass(model, prompts, behind[:1])  # one was left out
    assert not is_one_pass(model, prompts, [behind[0], Encoded([3, 3, 7, 2], 2, True, 1)])  # one was shortened
    longest = border_of(model, 9) - 1
    far = [Encoded([3] * longest, longest, False, 0)]
    assert not is_one_pass(model, far, [Encoded([*far[0].tokens, 7, 2], longest, False, 0)])


@pytest.mark.parametrize(("architecture", "shared"), [("llama", True), ("gpt2", True), ("mistral", False)])
def test_the_beginning_goes_through_the_model_once(architecture: str, shared: bool) -> None:
    model = make_model(architecture)
    prompts = with_beginning(40)
    positions: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _m, inputs, _o: positions.append(inputs[0].numel())
    )
    represent_tokens(model, prompts, token_budget=1)
    handle.remove()
    whole, own = sum(map(len, prompts)), sum(len(prompt) - 40 for prompt in prompts)
    assert sum(positions) == 40 + (own if shared else whole)


@given(
    beginning=st.lists(st.integers(0, 2), min_size=WORTH, max_size=WORTH + 9),
    ends=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=2, max_size=6),
)
def test_the_common_beginning_is_the_longest_that_leaves_each_a_token(
    beginning: list[int], ends: list[list[int]]
) -> None:
    prompts = [beginning + end for end in ends]
    found = common_prefix(prompts)
    assert len(beginning) <= found < min(map(len, prompts))
    assert len({tuple(prompt[:found]) for prompt in prompts}) == 1
    longer = {tuple(prompt[: found + 1]) for prompt in prompts}
    assert len(longer) > 1 or found + 1 == min(map(len, prompts))


def test_a_short_beginning_or_a_single_prompt_shares_nothing() -> None:
    assert common_prefix([[1] * (WORTH - 1) + [2, 2], [1] * (WORTH - 1) + [3, 3]]) == 0
    assert common_prefix([[1] * 99]) == common_prefix([]) == 0
