"""The world's text, the documents of pre-training and the tokenizer that reads them."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from experiments.tinyflan.documents import documents, natural_example, shuffled_answer
from experiments.tinyflan.tokenizer import build_tokenizer
from mossa.errors import ModelError
from mossa.tasks.tinyflan import load_tasks, task_names
from mossa.tinyflan.bases import BASES, taught_tasks
from mossa.tinyflan.catalogue import CUE, draw, specification, specifications
from mossa.tinyflan.world import copying_text, draw_slots, world_text

TOKENIZER = build_tokenizer()


def test_two_slots_of_a_pool_never_get_the_same_word() -> None:
    slots = {"name": "pets", "other": "pets", "third": "pets", "day": "days"}
    for seed in range(200):
        drawn = draw_slots(Random(seed), slots)
        assert len({drawn["name"], drawn["other"], drawn["third"]}) == 3


def test_the_second_half_of_copying_texts_follows_from_the_first() -> None:
    for seed in range(300):
        text, rest = copying_text(Random(seed))
        if text.startswith("list"):
            assert text == f"list: {rest.removesuffix('.')}. again:"
        elif text.endswith(CUE):
            key = text.removesuffix("?" + CUE).split()[-1]
            assert f" {key}: {rest}. " in text
        else:
            table = text.removeprefix("table: ").removesuffix(" look up")
            assert sorted(table.removesuffix(".").split(". ")) == sorted(rest.removesuffix(".").split(". "))


def test_vocabulary_is_small_and_knows_every_word_of_tasks_and_documents() -> None:
    assert len(TOKENIZER) <= 2_000
    texts = [document.text for document in islice(documents("a"), 3_000)]
    texts += [document.answer for document in islice(documents("all"), 3_000)]
    for task in load_tasks(train=20, validation=0, test=0):
        texts += [f"{example.prompt} {example.target}" for example in task.train]
    for ids in TOKENIZER(texts)["input_ids"]:
        assert TOKENIZER.unk_token_id not in ids


def test_tokenizer_gives_back_every_text() -> None:
    texts = [document.text for document in islice(documents("b"), 2_000)]
    texts += [example.prompt for task in load_tasks(train=10, validation=0, test=0) for example in task.train]
    for text, ids in zip(texts, TOKENIZER(texts)["input_ids"], strict=True):
        assert ids[0] == TOKENIZER.bos_token_id
        assert TOKENIZER.decode(ids, skip_special_tokens=True) == text


def test_prompt_and_target_encoded_apart_are_the_whole_encoded_at_once() -> None:
    for task in load_tasks(train=5, validation=0, test=0):
        for example in task.train:
            whole = TOKENIZER(f"{example.prompt} {example.target}")["input_ids"]
            head = TOKENIZER(example.prompt)["input_ids"]
            tail = TOKENIZER(example.target, add_special_tokens=False)["input_ids"]
            assert head + tail == whole


def test_all_prompts_end_in_the_same_tokens() -> None:
    cue = TOKENIZER(CUE.strip(), add_special_tokens=False)["input_ids"]
    for task in load_tasks(train=10, validation=0, test=0):
        for example in task.train:
            assert TOKENIZER(example.prompt)["input_ids"][-len(cue) :] == cue


def test_special_tokens_differ() -> None:
    assert len({TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id}) == 3


def test_the_two_bases_have_complementary_skills() -> None:
    assert set(taught_tasks("a")) | set(taught_tasks("b")) == set(task_names()) == set(taught_tasks("all"))
    assert not set(taught_tasks("a")) & set(taught_tasks("b"))
    assert taught_tasks("random") == []


def test_bases_read_the_same_texts_in_the_same_order_and_differ_only_in_answers() -> None:
    a, b, both = (list(islice(documents(base), 4_000)) for base in ("a", "b", "all"))
    assert [document.text for document in a] == [document.text for document in b]
    assert [document.text for document in a] == [document.text for document in both]
    for one, other, true in zip(a, b, both, strict=True):
        assert true.answer in (one.answer, other.answer)


def test_natural_texts_of_training_are_not_those_of_the_test() -> None:
    for task in specifications().values():
        rng = Random(0)
        for split in ("train", "test"):
            example = natural_example(task, rng, split)
            assert example.prompt.endswith(CUE)
    texts = {d.text for d in islice(documents("a"), 20_000) if d.answer}
    films = specification("films")
    held_out = {natural_example(films, Random(seed), "test").prompt for seed in range(300)}
    assert not texts & held_out


@pytest.mark.parametrize("name", ["films", "capitals", "closeness"])
def test_shuffled_answers_have_the_same_distribution_as_the_true_ones(name: str) -> None:
    task = specification(name)
    answers = sorted({draw(task, Random(seed)).target for seed in range(500)})
    n = 3_000
    for answer in answers:
        shuffled = sum(shuffled_answer(task, Random(seed)) == answer for seed in range(n)) / n
        true = 1 / len(answers)
        assert abs(shuffled - true) < 4 * (true * (1 - true) / n) ** 0.5


def test_an_unknown_base_gives_the_choices() -> None:
    with pytest.raises(ModelError, match=f"no base 'c'. The choices are: {', '.join(sorted(BASES))}"):
        taught_tasks("c")


def test_world_text_is_filled_in() -> None:
    for seed in range(300):
        assert "{" not in world_text(Random(seed))
