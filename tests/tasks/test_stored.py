"""Tasks on a shelf are the tasks that were put there, in few bytes, and nothing else is taken for them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import RunFolderError
from mossa.tasks.mixture import mix
from mossa.tasks.stored import store_tasks
from mossa.tasks.task import Example, Task

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # halves of a surrogate pair too
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=2).map(tuple)
SPLIT = st.lists(st.builds(Example, TEXT, TEXT, st.none() | TEXT, TURNS), max_size=3).map(tuple)
TASKS = st.lists(st.builds(Task, TEXT, TEXT, SPLIT, SPLIT, SPLIT, st.just({"empty": 2}), st.just(("a note",))))


@given(tasks=TASKS)
def test_another_process_reads_the_very_same(tmp_path_factory: pytest.TempPathFactory, tasks: list[Task]) -> None:
    there = pickle.loads(pickle.dumps(store_tasks(tasks, tmp_path_factory.mktemp("shelf") / "tasks")))
    for task, found in zip(tasks, there, strict=True):
        for field in ("name", "cluster", "train", "validation", "test", "left_out", "notes"):
            assert getattr(found, field) == getattr(task, field)
        assert (found.hashes, found.content_hash) == (task.hashes, task.content_hash)
        assert found.templates_hash == task.templates_hash
    assert mix(there, 2, seed=0) == mix(tasks, 2, seed=0)


def some_task(examples: int = 1000) -> Task:
    made = tuple(Example(f"{number} {'long ' * 200}", "yes") for number in range(examples))
    return Task("a", "b", made[20:], made[:10], made[10:20])


def test_what_travels_holds_no_text_and_training_examples_are_not_kept(tmp_path: Path) -> None:
    (task,) = store_tasks([some_task()], tmp_path / "tasks")
    assert len(pickle.dumps(task)) < 2000 < (tmp_path / "tasks").stat().st_size / 100
    assert len(task.train) == 980 and len(task.test) == len(task.validation) == 10
    assert task.test is task.test and task.train is not task.train
    assert len(pickle.dumps(task)) < 30_000


def test_other_data_than_those_that_were_planned_with_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "tasks"
    (task,) = store_tasks([some_task()], path)
    text = bytearray(path.read_bytes())
    text[-5] ^= 1  # in the last split, the test set
    path.write_bytes(text)
    assert len(task.train) == 980
    with pytest.raises(RunFolderError, match=r"tasks: test of task 'a' is not what was planned with"):
        _ = task.test
    path.write_bytes(text[:1000])
    with pytest.raises(RunFolderError, match="train of task 'a' is not what"):
        _ = task.train
    path.unlink()
    with pytest.raises(RunFolderError, match=r"holds the data of this run, cannot be read: .*Run again"):
        _ = task.train
