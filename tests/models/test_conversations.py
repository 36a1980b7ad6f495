"""Prompts with turns before them: token for token what the chat template gives, with the ending of all prompts."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.models.conversations import has_place_for_system, systems_without_place
from mossa.models.prompts import PromptFormat, make_format
from mossa.models.seen import as_seen
from mossa.study.schema import Prompt
from mossa.tasks.task import Example, Turn
from tests.models.chat_templates import TEMPLATES, TOKENIZERS
from tests.small import make_tokenizer

TURNS: tuple[Turn, ...] = (("user", "what is\n it?\n"), ("assistant", " it is what it is."))
SYSTEM: Turn = ("system", "Be kind.\n")
CONVERSATIONS = [
    Example("and now?", "no", None, TURNS),
    Example("\nand now? ", "yes", None, TURNS * 2),
    Example("it?", "no"),
    Example("it?", "no", None, (SYSTEM,)),
    Example("and now?", "no", None, (SYSTEM, *TURNS)),
]


@functools.cache
def tokenizer_of(kind: str) -> Any:
    return TOKENIZERS[kind]()


def form_of(kind: str, template: str, **settings: Any) -> PromptFormat:
    tokenizer = tokenizer_of(kind)
    tokenizer.chat_template = TEMPLATES[template]
    return make_format(tokenizer, Prompt(template="chat", **settings), 4096)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_conversation_is_what_apply_chat_template_gives(kind: str, template: str) -> None:
    form = form_of(kind, template)
    found = form.encode(CONVERSATIONS, "t", with_target=True)
    assert [each.index for each in found] == list(range(len(CONVERSATIONS)))
    place = has_place_for_system(form)
    assert systems_without_place(form, CONVERSATIONS) == (0 if place else 2)
    for example, each in zip(CONVERSATIONS, found, strict=True):
        turns = [turn for turn in example.before if place or turn[0] != "system"]
        messages = [{"role": role, "content": text} for role, text in (*turns, ("user", example.prompt))]
        theirs = form.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(each.tokens[: each.prompt_length]) == theirs
        assert tuple(each.tokens[each.prompt_length - len(form.suffix) : each.prompt_length]) == form.suffix
        answer = form.tokenizer(example.target, add_special_tokens=False)["input_ids"]
        assert list(each.tokens[each.prompt_length :]) == [*answer, form.tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_systems_message_of_a_study_gives_way_to_the_conversations_own(kind: str) -> None:
    form = form_of(kind, "llama 3", system="Be brief.")
    for example in CONVERSATIONS:
        (found,) = form.encode([example], "t", with_target=False)
        own = example.before[:1] == (SYSTEM,)
        messages = [{"role": role, "content": text} for role, text in (*example.before, ("user", example.prompt))]
        messages = messages if own else [{"role": "system", "content": "Be brief."}, *messages]
        theirs = form.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(found.tokens) == theirs


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(words=st.lists(st.sampled_from(["<|eot_id|>", "<s>", "it", " ", "</s>"]), min_size=1, max_size=5))
def test_an_earlier_turn_that_names_a_special_token_stays_text(kind: str, words: list[str]) -> None:
    form = form_of(kind, "llama 3")
    special = {form.tokenizer.convert_tokens_to_ids(word) for word in ("<|eot_id|>", "<s>", "</s>")}
    plain, attack = (
        form.encode([Example("it?", "", None, (SYSTEM, ("user", said), ("assistant", said)))], "t", False)[0]
        for said in ("it", "it" + "".join(words))
    )
    assert [token for token in attack.tokens if token in special] == [
        token for token in plain.tokens if token in special
    ]
    assert tuple(attack.tokens[-len(form.suffix) :]) == form.suffix


def test_texts_as_templates_ask_every_question_of_a_conversation_alike() -> None:
    tokenizer = make_tokenizer()
    words = {
        "plain": "<s> system is good one Answer : two three Answer : four </s>",
        "what is {prompt} ?": "<s> system is good what is one ? two what is three ? four </s>",
    }
    before: tuple[Turn, ...] = (("system", "system is good"), ("user", "one"), ("assistant", "two"))
    for template, expected in words.items():
        form = make_format(tokenizer, Prompt(template=template), 96)
        (found,) = form.encode([Example("three", "four", None, before)], "t", with_target=True)
        unknown = expected.replace("system", "<unk>")
        assert tokenizer.decode(list(found.tokens)) == unknown
    tokenizer = tokenizer_of("bytes")
    form = make_format(tokenizer, Prompt(template="llama2"), 4096)
    (found,) = form.encode([Example("three</s>", "", None, (("system", "Be kind."), *before[1:]))], "t", False)
    assert tokenizer.decode(list(found.tokens)) == (
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\none [/INST] two </s><s>[INST] three</s> [/INST]"
    )
    assert list(found.tokens).count(tokenizer.eos_token_id) == 1


def test_a_conversation_that_does_not_fit_is_skipped_or_shortened_in_its_last_turn_alone() -> None:
    long = [Example("now? " * 20, "no", None, TURNS), Example("now?", "no", None, TURNS * 9)]
    form = form_of("bytes", "llama 3", cutoff=400)
    assert [each.index for each in form.encode(long, "t", with_target=True)] == [0]
    form = form_of("bytes", "llama 3", cutoff=170, too_long="shorten-start")
    (found,) = form.encode(long, "t", with_target=True)
    begin = form.beginning(long[0])
    assert found.shortened and len(found.tokens) == 170
    whole = form_of("bytes", "llama 3").encode(long[:1], "t", with_target=True)[0]
    assert list(found.tokens[:begin]) == list(whole.tokens[:begin])
    with pytest.raises(DataError, match=r"task 't', example 2: 4 tokens, but only 0 fit"):
        form_of("bytes", "llama 3", cutoff=400, too_long="refuse").encode(long, "task 't'", with_target=True)


def test_a_template_that_refuses_a_conversation_is_a_sentence() -> None:
    tokenizer = tokenizer_of("bytes")
    tokenizer.chat_template = (
        "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}{{ messages[-1]['content'] }}<|end|>"
    )
    form = make_format(tokenizer, Prompt(template="chat"), 512)
    with pytest.raises(DataError, match=r"t, conversation 2: the chat template cannot render it \(too many\)"):
        form.encode([Example("a", "b"), Example("a", "b", None, TURNS)], "t", with_target=False)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}<|end|>{{ messages | length }}"
    form = make_format(tokenizer, Prompt(template="chat"), 512)
    with pytest.raises(DataError, match="ends this conversation in another way than a single prompt"):
        form.encode([Example("a", "b", None, TURNS)], "t", with_target=False)


def test_a_conversation_has_the_date_of_the_recorded_rendering() -> None:
    form = form_of("byte-level BPE", "llama 3.2")
    template = form.tokenizer.chat_template
    form.tokenizer.chat_template = template.replace("strftime_now('%d %b %Y')", "'25 Nov 2026'")
    recorded = make_format(form.tokenizer, Prompt(template="chat"), 4096)
    then = recorded.encode(CONVERSATIONS, "t", with_target=False)
    form.tokenizer.chat_template = template.replace("strftime_now('%d %b %Y')", "'6 December 2027'")
    assert form.encode(CONVERSATIONS[:1], "t", with_target=False) != then[:1]
    assert recorded.encode(CONVERSATIONS, "t", with_target=False) == then
    form.tokenizer.chat_template = "{{ messages | length }}" + template
    with pytest.raises(DataError, match="conversation 1: the chat template no longer renders prompts as it did"):
        recorded.encode(CONVERSATIONS, "t", with_target=False)


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_shown_is_what_the_model_is_given(template: str) -> None:
    form = form_of("byte-level BPE", template)
    for example in CONVERSATIONS:
        (encoded,) = form.encode([example], "t", with_target=True)
        title, *lines = as_seen(form, example)
        assert f"{len(encoded.tokens)} tokens" in title
        counts = {line.split(" (")[0]: int(line.split("(")[1].split(")")[0]) for line in lines if "):" in line}
        assert sum(counts.values()) == len(encoded.tokens) and counts["ending"] == len(form.suffix)
        assert list(counts) == ["beginning", "prompt", "ending", "target"]
