"""Task files of LLaMA-Factory and of Super-NaturalInstructions, as they are given out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.study.schema import Tasks
from mossa.tasks.collections import load_tasks
from mossa.tasks.split import Limits
from mossa.tasks.task import Example
from tests.small import examples
from tests.tasks.reading import load_folder, read_examples

LIMITS = Limits(60, 10, 20)


def alpaca(task: str) -> list[dict[str, str]]:
    """Return a small task in LLaMA-Factory's alpaca format."""
    return [
        {"instruction": "Say it.", "input": one["inputs"], "output": one["targets"], "system": "", "history": []}
        for one in examples(task)
    ]


def instructions(task: str) -> dict[str, Any]:
    """Return a small task with all keys that a task file of Super-NaturalInstructions has."""
    made = examples(task)
    shown = [{"input": one["inputs"], "output": one["targets"], "explanation": "so it is"} for one in made[:2]]
    return {
        "Contributors": ["A. Person"],
        "Source": ["somewhere"],
        "URL": ["https://example.org"],
        "Categories": ["Text to Code", "Other"],
        "Reasoning": [],
        "Definition": ["Repeat what is asked for."],
        "Input_language": ["English"],
        "Output_language": ["English"],
        "Instruction_language": ["English"],
        "Domains": ["Misc."],
        "Positive Examples": shown,
        "Negative Examples": [],
        "Instances": [
            {"id": f"task-{k}", "input": one["inputs"], "output": [one["targets"]]} for k, one in enumerate(made)
        ],
        "Instance License": ["Apache 2.0"],
    }


def test_alpaca_is_read_as_llama_factory_reads_it(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text(json.dumps(alpaca("first")))
    lines = [{"instruction": one["inputs"], "output": one["targets"]} for one in examples("second")]
    (tmp_path / "second.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "dataset_info.json").write_text('{"first": {"file_name": "first.json"}}')
    (tmp_path / "tasks.json").write_text('{"clusters": {"c": ["first", "second"]}}')
    tasks = load_folder(tmp_path, LIMITS, 0)
    assert [(task.name, task.cluster, len(task.train)) for task in tasks] == [("first", "c", 60), ("second", "c", 60)]
    expected = {(f"Say it.\n{one['inputs']}", one["targets"]) for one in examples("first")}
    assert {(example.prompt, example.target) for example in tasks[0].train} <= expected
    assert read_examples(tmp_path / "second.jsonl", "second")[0].prompt == examples("second")[0]["inputs"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"history": [["a"]]}, r"first\.json, example 2: 'history' must be pairs of what was asked and answered"),
        ({"system": ["Be kind."]}, r"example 2: 'system' must be text"),
        ({"output": 2.5}, r"'output' must be text.*The columns of this row are 'instruction', 'input', 'output'"),
        ({"input": 3}, r"'input' must be text"),
        ({"instruction": {}}, r"'instruction' must be text"),
    ],
)
def test_an_alpaca_example_that_cannot_be_used_is_named(tmp_path: Path, change: dict, sentence: str) -> None:
    made = alpaca("first")
    made[1] |= change
    (tmp_path / "first.json").write_text(json.dumps(made))
    with pytest.raises(DataError, match=sentence):
        read_examples(tmp_path / "first.json", "first")


def test_natural_instructions_bring_their_clusters(tmp_path: Path) -> None:
    for task in ("first", "again"):
        (tmp_path / f"task1_{task}.json").write_text(json.dumps(instructions(task)))
    tasks = load_tasks(Tasks(source=str(tmp_path), train=500, test=20, validation=10))
    assert [(task.name, task.cluster) for task in tasks] == [
        ("task1_again", "text_to_code"),
        ("task1_first", "text_to_code"),
    ]
    assert sum(map(len, (tasks[1].train, tasks[1].validation, tasks[1].test))) == 120
    assert tasks[1].train[0].prompt.startswith("Repeat what is asked for.\n\nInput: ")
    assert tasks[1].train[0].prompt.endswith("\nOutput:")
    named = load_tasks(Tasks(source=str(tmp_path), clusters={"mine": ["task1_first"]}, only=["task1_first"]))
    assert [task.cluster for task in named] == ["mine"]


def test_demonstrations_are_shown_and_never_asked(tmp_path: Path) -> None:
    path = tmp_path / "task1.json"
    path.write_text(json.dumps(instructions("first")))
    made = examples("first")
    shown = "".join(f"\n\nInput: {one['inputs']}\nOutput: {one['targets']}" for one in made[:2])
    read = read_examples(path, "task1", demonstrations=2)
    assert read[0] == Example(
        f"Repeat what is asked for.{shown}\n\nInput: {made[2]['inputs']}\nOutput:", made[2]["targets"]
    )
    assert len(read) == 118
    shown_twice = load_tasks(Tasks(source=str(path), demonstrations=2))[0]
    assert dict(shown_twice.left_out) == {"that are demonstrations": 2}
    content = instructions("first")
    content["Positive Examples"][0]["input"] += " "  # the splits call it the same prompt
    path.write_text(json.dumps(content))
    assert len(read_examples(path, "task1", demonstrations=2)) == 118
    (tmp_path / "flan.jsonl").write_text(json.dumps(made[0]))
    with pytest.raises(DataError, match=r"tasks\.demonstrations: .*flan\.jsonl has none"):
        load_folder(tmp_path, LIMITS, 0, ["flan"], {"c": ["flan"]}, demonstrations=1)
    with pytest.raises(DataError, match=r"tasks\.demonstrations is 3, but 'Positive Examples' has 2\. Lower"):
        read_examples(path, "task1", demonstrations=3)


def test_every_reference_output_is_an_example(tmp_path: Path) -> None:
    content = instructions("first")
    content["Instances"][0]["output"] = ["one", "1"]
    (tmp_path / "task1.json").write_text(json.dumps(content))
    assert [example.target for example in read_examples(tmp_path / "task1.json", "task1")[:2]] == ["one", "1"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Definition": "x"}, None),
        ({"Definition": []}, r"'Definition' must be a list of texts \(here: \[\]\)"),
        ({"Definition": None}, r"'Definition' must be a list of texts \(here: None\)"),
        ({"Instances": {}}, r"'Instances' must be a list \(here: dict\)"),
        ({"Instances": []}, r"is empty"),
        ({"Instances": [{"inputs": "x"}]}, r"instance 1: there is no 'input'.*are 'inputs'"),
        ({"Instances": [{"input": "x", "output": 3}]}, r"instance 1: 'output' must be a list of texts \(here: 3\)"),
        ({"Instances": [3]}, r"instance 1: an example is an object with input, not int"),
    ],
)
def test_a_task_file_that_is_not_one_is_named(tmp_path: Path, change: dict, sentence: str | None) -> None:
    (tmp_path / "task1.json").write_text(json.dumps({**instructions("first"), **change}))
    if sentence is None:  # older files have one text
        assert read_examples(tmp_path / "task1.json", "task1")
        return
    with pytest.raises(DataError, match=r"task1\.json.*" + sentence):
        read_examples(tmp_path / "task1.json", "task1")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('[{"instruction": "a", "outp', r"line 1: this is not JSON.*was not downloaded whole: delete it"),
        ('{"a": 1}', r"example 1: this is not a known format.*The columns of this row are 'a'\. Name the columns"),
        ("3", r"example 1: an example is an object with named columns, not int"),
        ("", r"line 1: this is not JSON"),
        ("[" * 100_000, r"is not JSON"),
        ("[]", r"is empty"),
    ],
)
def test_a_json_file_that_is_no_task_is_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "first.json").write_text(content)
    with pytest.raises(DataError, match=sentence):
        read_examples(tmp_path / "first.json", "first")


def test_one_name_is_one_file_and_needs_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text(json.dumps(alpaca("first")))
    with pytest.raises(DataError, match=r"task 'first' has no cluster\. Name it under tasks\.clusters"):
        load_folder(tmp_path, LIMITS, 0, clusters={"c": ["other"]})
    assert load_folder(tmp_path, LIMITS, 0)[0].cluster == "all"
    (tmp_path / "first.jsonl").write_text(json.dumps(examples("first")[0]))
    with pytest.raises(DataError, match=r"'first\.jsonl' and 'first\.json' differ only in case or ending"):
        load_folder(tmp_path, LIMITS, 0, clusters={"c": ["first"]})


@given(content=st.binary(max_size=200))
def test_no_bytes_make_the_json_reader_fall_over(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "first.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"first\.json"):
        read_examples(path, "first")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(instructions("first"))), inner),
    max_leaves=8,
)


@given(content=st.dictionaries(st.sampled_from(list(instructions("first"))), VALUES), count=st.integers(0, 2))
def test_no_content_makes_the_reader_of_instructions_fall_over(
    tmp_path_factory: pytest.TempPathFactory, content: dict, count: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "task1.json"
    path.write_text(json.dumps({**instructions("first"), **content}))
    try:
        assert read_examples(path, "task1", demonstrations=count)
    except DataError as error:
        assert "task1.json" in str(error)
