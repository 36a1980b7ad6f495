"""What is given as prompts: texts and messages are represented, each prompt counts once, all else is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mossa
from mossa.errors import DataError, ModelNote, MossaError, StudyError
from mossa.models.rendering import Rendering
from mossa.study import StudySettings as Settings
from mossa.tasks.task import Example, Task
from mossa.tasks.turns import prompts_of
from mossa.units.plan import plan
from tests.small import examples, make_model, make_tokenizer

CHAT = "{{ bos_token }}{% for m in messages %}say {{ m['content'] }} ? {% endfor %}Answer :"
PROMPTS = [one["inputs"] for one in examples("first", 24)]


def test_messages_and_generators_are_represented_as_their_texts() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer(CHAT)
    expected = mossa.represent(model, tokenizer, PROMPTS)
    messages = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    answered = [[*turns, {"role": "assistant", "content": "yes"}] for turns in messages]
    for given in (messages, answered, (prompt for prompt in PROMPTS), tuple(PROMPTS), np.array(PROMPTS, dtype=object)):
        assert torch.equal(mossa.represent(model, tokenizer, given), expected)
    longer = [[{"role": "user", "content": "it"}, {"role": "assistant", "content": "is"}, *turns] for turns in messages]
    theirs = [tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False) for turns in longer]
    found = mossa.represent(model, tokenizer, longer)
    raw = mossa.represent(model, tokenizer, [text.removeprefix("<s>") for text in theirs], template="{prompt}")
    assert torch.allclose(found, raw, atol=1e-5)


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        ("one", "prompts is one str; give a list of texts"),
        (None, "prompts is one NoneType"),
        (3, "prompts is one int"),
        ([None], "prompts, example 1 must be a text or a list of messages, not NoneType"),
        (["cat", 3.5], "prompts, example 2 must be a text or a list of messages, not float"),
        ([b"cat"], "example 1 must be a text or a list of messages, not bytes"),
        ([{"role": "user", "content": "cat"}], "prompts is one list of messages; give a list of them"),
        ([["cat"]], "example 1, message 1: a message is an object with a role and a text, not str"),
        ([[{"role": "user"}]], "messages empty are not a prompt"),
        ([[{"role": "wizard", "content": "cat"}]], "its role is 'wizard'"),
        (["\ud83d"], "example 1 holds half of a character"),
    ],
)
def test_what_is_no_prompt_is_a_sentence(prompts: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        mossa.represent(make_model("llama"), make_tokenizer(), prompts)
    if prompts not in ("one", None):
        with pytest.raises(MossaError, match=sentence):
            mossa.compare("base", "one", "other", prompts)


def test_a_system_message_that_the_template_has_no_place_for_is_told() -> None:
    other = "{% if m['role'] != 'system' %}say {{ m['content'] }} ? {% endif %}"
    users = f"{{% for m in messages %}}{other}{{% endfor %}}Answer :"
    with_system = [[{"role": "system", "content": "cat"}, {"role": "user", "content": text}] for text in PROMPTS[:4]]
    with pytest.warns(ModelNote, match="no place for a system message: 4 of 6 prompts go without theirs"):
        mossa.represent(make_model("llama"), make_tokenizer(users), [*with_system, *PROMPTS[4:6]])


@pytest.mark.parametrize("table", [pd.DataFrame({"prompt": PROMPTS}), np.array([PROMPTS])])
def test_a_table_is_not_read_as_the_names_of_its_columns(table: Any) -> None:
    with pytest.raises(DataError, match=r"prompts is a (DataFrame|ndarray) of rows and columns; give one column of it"):
        prompts_of(table)
    assert len(prompts_of(pd.DataFrame({"prompt": PROMPTS})["prompt"])) == len(PROMPTS)


def test_repeated_prompts_are_told_and_kept_in_their_rows() -> None:
    with pytest.warns(UserWarning, match="3 of 27 prompts repeat an earlier one"):
        found = mossa.represent(make_model("llama"), make_tokenizer(), [*PROMPTS, *PROMPTS[:3]])
    assert len(found) == 27 and torch.allclose(found[24:], found[:3], atol=1e-5)


def test_a_pair_is_compared_on_each_prompt_once(base_folder: Any, tmp_path: Path) -> None:
    base = str(base_folder("llama"))
    for seed in (1, 2):
        make_model("llama", seed).save_pretrained(tmp_path / f"model{seed}")
        make_tokenizer().save_pretrained(tmp_path / f"model{seed}")
    models = (base, str(tmp_path / "model1"), str(tmp_path / "model2"))
    once = mossa.compare(*models, PROMPTS, device="cpu")
    again = [*PROMPTS, *(prompt.replace(" ", "\u00a0 ") for prompt in PROMPTS), *PROMPTS]
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps({"inputs": prompt}) for prompt in again))
    for given in (again, tmp_path / "prompts.jsonl"):
        often = mossa.compare(*models, given, device="cpu")
        assert once.table.equals(often.table)
        assert (often.prompts, often.repeated, often.skipped, once.repeated) == (24, 48, 0, 0)
    assert "24 prompts, 48 repeated and left out" in repr(often)


@pytest.mark.parametrize(("length", "seeds", "fits"), [(106, [3], True), (107, [3], False), (105, [0, 42], True),
                                                       (106, [0, 42], False), (120, [0], False)])  # fmt: skip
def test_the_names_of_tasks_fit_into_those_of_units(
    length: int, seeds: list[int], fits: bool, base_folder: Any, tmp_path: Path
) -> None:
    lines = [json.dumps({"inputs": prompt, "targets": "one"}) for prompt in PROMPTS]
    (tmp_path / f"{'x' * length}.jsonl").write_text("\n".join(lines))
    settings = {
        "name": "names",
        "base": {"model": str(base_folder("llama"))},
        "tasks": {"source": str(tmp_path)},
        "control": {"seeds": seeds},
    }
    problems = [str(problem) for problem in mossa.validate(settings).problems]
    if fits:
        assert not problems
        return
    assert any(f"has a name of {length} characters; with the seed {max(seeds)}" in problem for problem in problems)
    example = Example("a", "b")
    with pytest.raises(StudyError, match=f"it may have {120 - len('control--seed') - len(str(max(seeds)))}"):
        plan(Settings(**settings), [Task("x" * length, "c", (example,), (), (example,))], Rendering("", "", (), ()))
