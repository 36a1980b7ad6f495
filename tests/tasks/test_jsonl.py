"""Folders of jsonl: what is right is read, what is wrong is a sentence with file, line and how to fix it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.study.schema import Tasks
from mossa.tasks.collections import load_tasks
from mossa.tasks.split import Limits
from tests.small import examples, save_tasks
from tests.tasks.reading import load_folder, read_examples

LIMITS = Limits(60, 10, 20)


def test_tasks_come_sorted_with_their_clusters(task_folder: Path) -> None:
    tasks = load_folder(task_folder, LIMITS, 0)
    assert [(task.name, task.cluster) for task in tasks] == [
        ("again", "copying"),
        ("colour", "naming"),
        ("first", "copying"),
        ("second", "naming"),
    ]
    assert all(len(task.train) == 60 and len(task.validation) == 10 and len(task.test) == 20 for task in tasks)
    assert len({task.content_hash for task in tasks}) == 4
    assert [task.content_hash for task in load_folder(task_folder, LIMITS, 0)] == [task.content_hash for task in tasks]


def test_the_study_may_name_the_clusters(task_folder: Path) -> None:
    settings_ = Tasks(source=str(task_folder), clusters={"mine": ["first", "again"]}, only=["first"], test=10)
    assert [(task.name, task.cluster) for task in load_tasks(settings_)] == [("first", "mine")]


def test_templates_are_kept(tmp_path: Path) -> None:
    rows = [{**example, "template": index % 3} for index, example in enumerate(examples("first"))]
    (tmp_path / "first.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tasks.json").write_text('{"clusters": {"c": ["first"]}}')
    task = load_folder(tmp_path, LIMITS, 0)[0]
    assert {example.template for example in task.train} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("not json", r"first\.jsonl, line 2: this is not JSON"),
        ("[1]", r"line 2: an example is an object .* not list"),
        (
            '{"inputs": "x"}',
            r"line 2: there is no 'targets'. The columns of this row are 'inputs'. An example needs",
        ),
        (
            '{"prompt": "x", "completion": "y"}',
            r"line 2: there is no 'inputs'.*This row is prompt and completion, the f",
        ),
        ('{"inputs": 3, "targets": "y"}', r"line 2: 'inputs' must be text .*3"),
        ('{"inputs": "x", "targets": "y", "task": "other"}', r"line 2: its task is 'other', but the file is 'first'"),
        (r'{"inputs": "\ud83d", "targets": "y"}', r"line 2: 'inputs' holds half of a character"),
        ("[" * 100_000, r"line 2: this is not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    good = json.dumps(examples("first")[0])
    (tmp_path / "first.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(DataError, match=sentence):
        read_examples(tmp_path / "first.jsonl", "first")


def test_what_is_missing_in_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither a folder nor a file"):
        load_folder(tmp_path / "none", LIMITS, 0)
    with pytest.raises(DataError, match=r"has no file of data \(\*\.jsonl"):
        load_folder(tmp_path, LIMITS, 0)
    save_tasks(tmp_path)
    with pytest.raises(DataError, match=r"no task 'frist'\. Did you mean 'first'\?"):
        load_folder(tmp_path, LIMITS, 0, ["frist"])
    with pytest.raises(DataError, match=r"task 'first' has no cluster.*tasks\.clusters"):
        load_folder(tmp_path, LIMITS, 0, ["first"], {"c": ["again"]})
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.jsonl is empty"):
        load_folder(tmp_path, LIMITS, 0, ["empty"], {"c": ["empty"]})
    (tmp_path / "First.jsonl").write_text("{}")
    with pytest.raises(DataError, match="differ only in case"):
        load_folder(tmp_path, LIMITS, 0)
    (tmp_path / "First.jsonl").rename(tmp_path / "two words.jsonl")
    with pytest.raises(DataError, match="'two words' cannot be the name of a task"):
        load_folder(tmp_path, LIMITS, 0)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"clusters": 3}', '{"clusters": {"c": [1]}}', '{"clusters": {"../c": ["first"]}}']
)
def test_a_bad_clusters_file_is_a_sentence(tmp_path: Path, content: str) -> None:
    save_tasks(tmp_path)
    (tmp_path / "tasks.json").write_text(content)
    with pytest.raises(DataError):
        load_folder(tmp_path, LIMITS, 0)


def test_a_task_in_two_clusters_is_refused(tmp_path: Path) -> None:
    save_tasks(tmp_path)
    (tmp_path / "tasks.json").write_text('{"clusters": {"one": ["first"], "other": ["first"]}}')
    with pytest.raises(DataError, match="task 'first' is in the clusters 'one' and 'other'; take one"):
        load_folder(tmp_path, LIMITS, 0)


def test_an_unknown_collection_lists_the_choices() -> None:
    with pytest.raises(DataError, match=r"neither a folder, a file nor a collection.*tinyflan"):
        load_tasks(Tasks(source="tinyflam"))


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_make_the_reader_fall_over(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "first.jsonl"
    path.write_bytes(content)
    try:
        assert read_examples(path, "first")
    except DataError as error:
        assert "first.jsonl" in str(error)
