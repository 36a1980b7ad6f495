"""One BOS, one constant ending, nothing cut at the end, and prompts that are never more than text."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError, ModelError, StudyError
from mossa.models import prompts
from mossa.models.prompts import make_format
from mossa.models.rendering import LLAMA2_SYSTEM, render
from mossa.study.schema import Prompt
from mossa.tasks.task import Example
from tests.small import WORDS, make_tokenizer

TEXT = st.lists(st.sampled_from(WORDS[3:]), min_size=1, max_size=60).map(" ".join)
CHAT = "{{ bos_token }}{% for m in messages %}say {{ m['role'] }} : {{ m['content'] }} ? {% endfor %}Answer :"


def some_format(longest: int = 96, chat: str | None = None, **settings):
    return make_format(make_tokenizer(chat), Prompt(**settings), longest)


@given(texts=st.lists(TEXT, min_size=1, max_size=8), template=st.sampled_from(["plain", "chat", "{prompt} again ?"]))
def test_every_prompt_begins_with_one_bos_and_ends_alike(texts: list[str], template: str) -> None:
    form = some_format(chat=CHAT, template=template)
    encoded = form.encode([Example(text, "yes") for text in texts], "t", with_target=True)
    suffix = list(form.suffix)
    assert suffix
    for example in encoded:
        assert example.tokens.count(1) == 1 and example.tokens[0] == 1
        assert list(example.tokens[example.prompt_length - len(suffix) : example.prompt_length]) == suffix
        assert list(example.tokens[example.prompt_length :]) == [WORDS.index("yes"), 2]


@given(text=TEXT, longest=st.integers(14, 40), policy=st.sampled_from(["skip", "shorten-start", "shorten-middle"]))
def test_the_end_of_a_prompt_is_never_cut(text: str, longest: int, policy: str) -> None:
    form = some_format(longest, template="plain", too_long=policy)
    whole = [WORDS.index(word) for word in text.split()]
    encoded = form.encode([Example(text, "yes no")], "t", with_target=True)
    room = longest - 1 - len(form.suffix) - 3
    if len(whole) <= room:
        assert not encoded[0].shortened
    elif policy == "skip":
        assert encoded == []
        return
    else:
        assert encoded[0].shortened and len(encoded[0].tokens) == longest
    body = list(encoded[0].tokens[1 : encoded[0].prompt_length - len(form.suffix)])
    kept = min(room, len(whole))
    tail = kept if policy == "shorten-start" else kept - kept // 2
    assert body[len(body) - tail :] == whole[len(whole) - tail :]
    if policy == "shorten-middle" and len(whole) > room:
        assert body[: kept // 2] == whole[: kept // 2]


def test_many_examples_are_tokenized_in_parts_and_take_four_bytes_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    form = some_format(longest=200, template="plain")
    examples = [Example("cat " * (1 + index % 7), "yes " * (index % 3)) for index in range(50)]
    for with_target in (True, False):
        whole = form.encode(examples, "t", with_target)
        with monkeypatch.context() as patched:
            patched.setattr(prompts, "AT_ONCE", 7)
            assert form.encode(examples, "t", with_target) == whole and len(whole) == 50
    tracemalloc.start()
    kept = form.encode(examples * 200, "t", with_target=True)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    tokens = sum(len(example.tokens) for example in kept)
    assert taken < 4 * tokens + 300 * len(kept)


def test_refusing_says_what_does_not_fit() -> None:
    form = some_format(20, template="plain", too_long="refuse")
    with pytest.raises(DataError, match=r"task 'x', example 2: 40 tokens, but only 17 fit .*prompt\.too_long"):
        form.encode([Example("cat", "yes"), Example("cat " * 40, "yes")], "task 'x'", with_target=False)


def test_skipped_examples_are_known_by_their_index() -> None:
    form = some_format(20, template="plain")
    encoded = form.encode([Example("cat " * n, "yes") for n in (3, 50, 4, 60)], "t", with_target=True)
    assert [example.index for example in encoded] == [0, 2]


def test_special_tokens_in_a_prompt_are_text() -> None:
    form = some_format(template="plain")
    encoded = form.encode([Example("cat </s> <s> dog", "</s> yes")], "t", with_target=True)[0]
    assert encoded.tokens.count(1) == 1 and encoded.tokens.count(2) == 1 and encoded.tokens[-1] == 2


def test_auto_takes_the_chat_template_if_there_is_one() -> None:
    assert some_format(chat=CHAT).suffix == some_format(chat=CHAT, template="chat").suffix
    assert some_format().suffix == some_format(template="plain").suffix
    with pytest.raises(ModelError, match="has no chat template"):
        some_format(template="chat")
    with pytest.raises(ModelError, match="cannot be used"):
        some_format(chat="{{ raise_exception('no') }}")
    with pytest.raises(ModelError, match="does not repeat the prompt"):
        some_format(chat="always the same")


def test_a_chat_template_runs_in_a_sandbox() -> None:
    with pytest.raises(ModelError, match="cannot be used"):
        some_format(chat="{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages[0]['content'] }}")


def test_the_papers_template_ends_in_inst_and_has_its_system_prompt() -> None:
    found = render(make_tokenizer(), Prompt(template="llama2"))
    assert found.before == f"[INST] <<SYS>>\n{LLAMA2_SYSTEM}\n<</SYS>>\n\n" and found.after == " [/INST]"


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"cutoff": 200}, StudyError, "the model takes at most 96"),
        ({"cutoff": 8, "template": "cat " * 9 + "{prompt}"}, StudyError, "leave no room"),
    ],
)
def test_bad_settings_are_sentences(settings: dict, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        some_format(**settings)


def test_prompts_that_do_not_end_alike_are_refused() -> None:
    form = some_format(template="{prompt}")
    same = form.encode([Example("cat ?", "yes"), Example("dog ?", "no")], "t", with_target=True)
    assert len(same) == 2
    with pytest.raises(DataError, match="do not end in the same token"):
        form.encode([Example("cat ?", "yes"), Example("dog .", "no")], "t", with_target=True)
