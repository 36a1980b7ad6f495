"""Greedy answers are those that transformers generates, and a right answer takes one pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mossa.models.base import LoadedBase, load_base
from mossa.models.prompts import Encoded, make_format
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from mossa.training import replies
from mossa.training.replies import MOST, greedy_replies
from tests.small import examples


def generated(base: LoadedBase, prompt: list[int], most: int = MOST) -> list[int]:
    """Return what transformers' own loop makes of a prompt."""
    base.model.generation_config.eos_token_id = base.tokenizer.eos_token_id
    given = torch.tensor([prompt])
    made = base.model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=most, pad_token_id=0
    )
    return made[0, len(prompt) :].tolist()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_answers_are_those_of_generate_and_right_ones_take_one_pass(
    architecture: str, base_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(Base(model=str(base_folder(architecture))))
    form = make_format(base.tokenizer, Prompt(), base.longest)
    few = [Example(each["inputs"], each["targets"]) for each in examples("first", 4)]
    wrong = form.encode(few, "first", with_target=True)
    prompts = [list(example.tokens[: example.prompt_length]) for example in wrong]
    expected = [generated(base, prompt) for prompt in prompts]
    assert greedy_replies(base.model, wrong, base.device, base.longest) == expected

    right = [
        Encoded([*prompt, *answer], len(prompt), False, 0) for prompt, answer in zip(prompts, expected, strict=True)
    ]
    passes: list[Any] = []
    whole = replies.target_logits
    monkeypatch.setattr(replies, "target_logits", lambda *given: passes.append(given) or whole(*given))
    assert greedy_replies(base.model, right, base.device, base.longest) == expected
    assert len(passes) == 1


def test_an_answer_ends_where_the_model_can_read_no_further(base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder("gpt2"))))
    prompt = [3 + place % 40 for place in range(base.longest - 4)]
    example = Encoded([*prompt, 60, 61], len(prompt), False, 0)
    (answer,) = greedy_replies(base.model, [example], base.device, base.longest)
    assert answer == generated(base, prompt, 4)
