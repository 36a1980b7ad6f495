"""Data as people have them: every format, file and packing gives the same examples, and nothing is lost uncounted."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.study.schema import Fields, Tasks
from mossa.tasks.collections import COLLECTIONS, load_tasks, remarks
from mossa.tasks.folder import read_prompts
from mossa.tasks.formats import Found, read_table
from mossa.tasks.listing import found_mapping, list_collections, list_source, show_task
from mossa.tasks.rows import read_rows
from mossa.tasks.split import Limits, split_by_input
from mossa.tasks.task import Example, Task
from tests.small import examples
from tests.tasks.reading import load_folder, read_examples
from tests.tasks.replica import SHA, hub

LIMITS = Limits(60, 10, 20)
PAIRS = [(one["inputs"], one["targets"]) for one in examples("first")]
ROWS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "FLAN": lambda asked, answer: {"inputs": asked, "targets": answer},
    "OpenAI": lambda asked, answer: {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer, "weight": 1}]
    },
    "parts": lambda asked, answer: {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": asked[:4]}, {"type": "text", "text": asked[4:]}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    },
    "TRL": lambda asked, answer: {"prompt": asked, "completion": answer},
    "TRL messages": lambda asked, answer: {
        "prompt": [{"role": "user", "content": asked}],
        "completion": [{"role": "assistant", "content": answer}],
    },
    "ShareGPT": lambda asked, answer: {
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    },
    "alpaca": lambda asked, answer: {"instruction": asked, "input": "", "output": answer},
    "alpaca without input": lambda asked, answer: {"instruction": asked, "output": answer},
    "alpaca with all": lambda asked, answer: {
        "instruction": asked, "input": None, "output": answer, "system": "", "history": []
    },
}  # fmt: skip


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize("name", ROWS)
def test_every_format_gives_the_same_examples(name: str, tmp_path: Path) -> None:
    rows = [ROWS[name](*pair) for pair in PAIRS]
    (tmp_path / "first.jsonl").write_bytes(as_lines(rows))
    (tmp_path / "second.json").write_text(json.dumps(rows))
    (tmp_path / "third.json").write_bytes(as_lines(rows))  # as many sets of the hub are called
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "fourth.parquet")
    tasks = load_folder(tmp_path, LIMITS, 0)
    assert [task.name for task in tasks] == ["first", "fourth", "second", "third"]
    for task in tasks:
        found = {(one.prompt, one.target, one.before) for one in (*task.train, *task.validation, *task.test)}
        assert found <= {(*pair, ()) for pair in PAIRS} and len(task.train) == 60 and not task.left_out
        assert task.content_hash == tasks[0].content_hash


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_files_are_read_and_named_without_their_packing(packing: str, tmp_path: Path) -> None:
    rows = [ROWS["TRL"](*pair) for pair in PAIRS]
    (tmp_path / f"first.jsonl{packing}").write_bytes(PACKINGS[packing](as_lines(rows)))
    assert [(one.prompt, one.target) for one in read_examples(tmp_path / f"first.jsonl{packing}")] == PAIRS
    assert load_folder(tmp_path, LIMITS, 0)[0].name == "first"
    (tmp_path / f"first.jsonl{packing}").write_bytes(PACKINGS[packing](as_lines(rows))[:-40])
    with pytest.raises(DataError, match=r"first\.jsonl"):
        read_examples(tmp_path / f"first.jsonl{packing}")


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t"), ("csv", "\t")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_read_whatever_separates_their_cells(
    ending: str, separator: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / f"first.{ending}"
    with path.open("w", newline="", encoding=encoding) as file:
        table = csv.writer(file, delimiter=separator)
        table.writerow(["", "prompt", "completion"])
        table.writerows([number, f'{asked}, "é";\tso\n', answer] for number, (asked, answer) in enumerate(PAIRS))
    assert read_examples(path)[0] == Example(f'{PAIRS[0][0]}, "é";\tso\n', PAIRS[0][1])
    assert len(read_examples(path)) == len(PAIRS)


CELL = st.text('"a\t\n ,', max_size=6)


@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4), quoted=st.booleans())
def test_no_quote_in_a_table_with_tabs_loses_a_row_in_silence(
    rows: list[tuple[str, str]], quoted: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tabs") / "first.tsv"
    with path.open("w", newline="") as file:
        if quoted:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([("prompt", "completion"), *rows])
        else:
            rows = [tuple(cell.replace("\t", " ").replace("\n", " ") for cell in row) for row in rows]
            file.writelines("\t".join(row) + "\n" for row in [("prompt", "completion"), *rows])
    try:
        read = [(row["prompt"], row["completion"]) for _, row in read_rows(path)]
    except DataError as error:
        assert "A quote that is text is written twice" in str(error) or "Quote a cell" in str(error)
        return
    if quoted:
        assert read == rows
    else:
        assert len(read) == len(rows)


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE])
def test_byte_order_marks_are_read(mark: bytes, tmp_path: Path) -> None:
    encoding = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    rows = [ROWS["alpaca"](*pair) for pair in PAIRS]
    for name, text in (
        ("first.jsonl", as_lines(rows).decode()),
        ("second.json", json.dumps(rows)),
        ("tasks.json", '{"clusters": {"c": ["first", "second"]}}'),
        ("dataset_info.json", '{"second": {"file_name": "second.json"}}'),
    ):
        (tmp_path / name).write_bytes(mark + text.encode(encoding.get(mark, "utf-32-le")))
    assert [(task.name, task.cluster) for task in load_folder(tmp_path, LIMITS, 0)] == [("first", "c"), ("second", "c")]


def test_numbers_and_names_of_classes_are_answers(tmp_path: Path) -> None:
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    table = pa.table({"text": [f"text {k}" for k in range(4)], "label": [0, 1, -1, 1]})
    described = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(described, tmp_path / "first.parquet")
    settings = Fields(prompt="text", target="label")
    for path, expected in (("first", ["no", "yes", "yes"]), ("second", ["0", "1", "-1", "1"])):
        pq.write_table(described if path == "first" else table, tmp_path / f"{path}.parquet")
        with pytest.raises(DataError, match=r"has \d different prompts"):
            load_folder(tmp_path, LIMITS, 0, [path], fields=settings)
        from mossa.tasks.folder import Found, Part, _read

        found = Found()
        _read(Part(path, (tmp_path / f"{path}.parquet",)), settings, 0, found)
        assert [one.target for one in found.examples[path]] == expected
        assert found.left_out[path]["empty"] == 4 - len(expected)


@pytest.mark.parametrize("beside", [[{"_type": "Value"}], {"names": None, "_type": "ClassLabel"}, None])
def test_what_is_told_of_other_columns_does_not_hide_the_names_of_classes(beside: Any, tmp_path: Path) -> None:
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, "others": beside}
    table = pa.table({"text": ["a", "b"], "label": [1, 0], "others": [["x"], []]})
    described = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(described, tmp_path / "first.parquet")
    assert [row["label"] for _, row in read_rows(tmp_path / "first.parquet")] == ["yes", "no"]


def test_a_value_of_parquet_that_python_does_not_have_is_a_sentence(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a"], "completion": ["b"], "when": pa.array([2**62], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "first.parquet")
    with pytest.raises(DataError, match=r"first\.parquet: a value cannot be read \(date value out of range\)"):
        list(read_rows(tmp_path / "first.parquet"))


@pytest.mark.parametrize("packing", ["", *PACKINGS])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
def test_every_text_file_may_be_packed(ending: str, packing: str, tmp_path: Path) -> None:
    separator = "\t" if ending == "tsv" else ";"
    lines = {
        "jsonl": as_lines([{"prompt": "a\nb", "completion": "c"}]),
        "json": json.dumps([{"prompt": "a\nb", "completion": "c"}]).encode(),
    }
    data = lines.get(ending) or f'\ufeffprompt{separator}completion\r\n"a\nb"{separator}c\r\n'.encode()
    path = tmp_path / f"first.{ending}{packing}"
    path.write_bytes(PACKINGS[packing](data) if packing else data)
    assert read_examples(path) == [Example("a\nb", "c")]


def test_files_that_are_called_as_splits_of_one_task_are_noted(tmp_path: Path) -> None:
    rows = as_lines([ROWS["TRL"](*pair) for pair in PAIRS])
    for name in ("train", "test", "trainers"):
        (tmp_path / f"{name}.jsonl").write_bytes(rows)
    (task, *_) = load_folder(tmp_path, LIMITS, 0)
    assert any(note.startswith("test, train: these names look like splits") for note in task.notes)
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").unlink()
    assert load_folder(tmp_path, LIMITS, 0)[0].notes == ()
    for name in ("rte_train", "driving_test"):  # of one set there is one file, so it may be a whole task
        (tmp_path / f"{name}.jsonl").write_bytes(rows)
    assert not any("look like splits" in note for note in load_folder(tmp_path, LIMITS, 0)[0].notes)
    for name in ("rte_dev", "a-00000-of-00002", "a-00001-of-00002"):
        (tmp_path / f"{name}.jsonl").write_bytes(rows)
    (task, *_) = load_folder(tmp_path, LIMITS, 0)
    assert any(
        note.startswith("a-00000-of-00002, a-00001-of-00002, rte_dev: these names look like splits")
        for note in task.notes
    )


@pytest.mark.parametrize(
    ("files", "code"),
    [(["state.json", "data-00000-of-00001.arrow"], r"\)\.to"), (["dataset_dict.json"], r"\)\['train'\]\.to")],
)
def test_what_datasets_saved_to_disk_says_how_to_write_it(files: list[str], code: str, tmp_path: Path) -> None:
    for name in [*files, "dataset_info.json"]:
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=rf"written by save_to_disk of `datasets`.*load_from_disk\('.*'{code}"):
        load_folder(tmp_path, LIMITS, 0)


def test_what_is_in_a_folder_and_is_not_read_is_told(tmp_path: Path) -> None:
    rows = as_lines([ROWS["FLAN"](*pair) for pair in PAIRS])
    (tmp_path / "more").mkdir()
    for name in ("first.jsonl", "second.ndjson", "more/third.jsonl"):
        (tmp_path / name).write_bytes(rows)
    (tmp_path / "fourth.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "tasks.json").write_text('{"clusters": {"c": ["first", "second", "third"]}}')
    assert remarks(load_folder(tmp_path, LIMITS, 0)) == [
        "not read: fourth.jsonl, more/, second.ndjson", "in a cluster, but without data: second, third"
    ]  # fmt: skip


def test_a_value_that_is_there_twice_is_refused_by_every_reader(tmp_path: Path) -> None:
    twice = '{"prompt": "a", "prompt": "b", "completion": "c"}'
    (tmp_path / "a.jsonl").write_text(twice)
    (tmp_path / "b.json").write_text(f"[{twice}]")
    (tmp_path / "c.csv").write_text("prompt,prompt,completion\na,b,c\n")
    columns = [pa.array([text]) for text in "abc"]
    pq.write_table(pa.Table.from_arrays(columns, ["prompt", "prompt", "completion"]), tmp_path / "d.parquet")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match=r"'prompt'( twice|; rename one)"):
            list(read_rows(path))


def test_a_label_that_is_missing_is_missing_in_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join(
            f'{{"prompt": "{k}", "completion": "c", "template": {label}}}'
            for k, label in enumerate(['"t"', "null", "NaN", '""'])
        )
    )
    (tmp_path / "b.csv").write_text("prompt,completion,template\n0,c,t\n1,c,\n2,c,\n3,c, \n")
    table = pa.table({"prompt": list("0123"), "completion": list("cccc"), "template": ["t", None, "", None]})
    pq.write_table(table, tmp_path / "c.parquet")
    settings = Fields(prompt="prompt", target="completion", template="template")
    for path in sorted(tmp_path.iterdir()):
        found = Found()
        read_table(read_rows(path), "x", found, settings)
        assert [one.template for one in found.examples["x"]] == ["t", None, None, None], path
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "completion": "c", "kind": NaN}')
    with pytest.raises(DataError, match=r"'kind' names no task or cluster \(here: nan\)"):
        read_table(read_rows(tmp_path / "d.jsonl"), "x", Found(), Fields(task="kind"))


def conversation(*turns: str, system: str | None = None) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[k % 2], "content": turn} for k, turn in enumerate(turns)]
    return {"messages": ([{"role": "system", "content": system}] if system is not None else []) + messages}


def test_the_last_answer_is_the_target_and_what_stands_before_is_kept(tmp_path: Path) -> None:
    rows = [
        conversation("one", "two", "three", "four", system="Be kind."),
        {"conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "two"}], "system": "Be brief."},
        {"instruction": "three", "input": "five", "output": "four", "system": "Be kind.", "history": [["one", "two"]]},
        {
            "prompt": conversation("one", "two", "three")["messages"],
            "completion": [{"role": "assistant", "content": "four"}],
        },
    ]
    turns = (("user", "one"), ("assistant", "two"))
    expected = [
        Example("three", "four", None, (("system", "Be kind."), *turns)),
        Example("one", "two", None, (("system", "Be brief."),)),
        Example("three\nfive", "four", None, (("system", "Be kind."), *turns)),
        Example("three", "four", None, turns),
    ]
    for row, example in zip(rows, expected, strict=True):
        (tmp_path / "first.jsonl").write_bytes(as_lines([row]))
        assert read_examples(tmp_path / "first.jsonl") == [example]


LEFT_OUT: list[tuple[dict[str, Any], str]] = [
    (conversation("a", ""), "empty"),
    (conversation("a", None), "empty"),
    (conversation(" ", "b"), "empty"),
    (conversation("a", "b", "c"), "that end without an answer"),
    (conversation("a"), "that end without an answer"),
    ({"messages": []}, "empty"),
    ({"messages": [{"role": "assistant", "content": "b"}]}, "whose turns do not alternate between user and assistant"),
    (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"name": "f"}]}]},
        "with tool calls",
    ),
    ({"messages": [{"role": "tool", "content": "3"}, *conversation("a", "b")["messages"]]}, "with tool calls"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]},
        "with images, audio or other parts that are not text",
    ),
    (
        {"messages": [*conversation("a")["messages"], {"role": "assistant", "content": "b", "thinking": "so"}]},
        "with thoughts apart from the answer",
    ),
    (
        {"messages": [*conversation("a")["messages"], {"role": "assistant", "content": "b", "reasoning": "so"}]},
        "with thoughts apart from the answer",
    ),
    (
        {"messages": [{"role": "user", "content": "a", "images": ["x.png"]}, {"role": "assistant", "content": "b"}]},
        "with images, audio or other parts that are not text",
    ),
    (
        {"messages": [*conversation("a")["messages"], {"role": "assistant", "content": "b", "weight": 0}]},
        "whose answer has the weight 0, so that nothing learns it",
    ),
    (conversation("a", "b") | {"images": ["x.png"]}, "with images, audio or video"),
    (conversation("a", "b") | {"tools": [{"name": "f"}]}, "with tools"),
]


@pytest.mark.parametrize(("row", "reason"), LEFT_OUT, ids=[reason for _, reason in LEFT_OUT])
def test_what_is_no_example_is_left_out_and_counted(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    rows = [ROWS["OpenAI"](*pair) | {"images": [], "tools": None} for pair in PAIRS]
    (tmp_path / "first.jsonl").write_bytes(as_lines([*rows, row, row]))
    task = load_folder(tmp_path, LIMITS, 0)[0]
    assert dict(task.left_out) == {reason: 2}
    assert f"examples left out: 2 {reason}" in list_source(str(tmp_path))


@pytest.mark.parametrize("name", [name for name in ROWS if name != "parts"])
def test_empty_targets_are_left_out_in_every_format(name: str, tmp_path: Path) -> None:
    rows = [ROWS[name](*pair) for pair in PAIRS] + [ROWS[name](PAIRS[0][0], ""), ROWS[name](" ", "x")]
    (tmp_path / "first.jsonl").write_bytes(as_lines(rows))
    assert dict(load_folder(tmp_path, LIMITS, 0)[0].left_out) == {"empty": 2}


def test_a_source_of_which_nothing_can_be_used_says_why(tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_bytes(as_lines([conversation("a"), conversation("b")]))
    with pytest.raises(DataError, match=r"no example that can be used \(2 that end without an answer\)"):
        load_folder(tmp_path, LIMITS, 0)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "a", "completion": "b"}, "line 2: there is no 'inputs'.*This row is prompt and completion"),
        ({"inputs": "a", "targets": "b", "task": "x"}, r"its task is 'x', but the file is 'first'.*\{task: task\}"),
        ({"inputs": "a", "targets": 2.5}, r"'targets' must be text \(here: 2\.5\)"),
        ({"inputs": "a", "targets": ["b"]}, r"message 2: a message is an object"),
        ({"inputs": "a", "targets": [{"role": "wizard", "content": "b"}]}, r"role is 'wizard'.*choices are: assistant"),
        ({"inputs": "a", "targets": [{"text": "b"}]}, r"role is None \(its keys are 'text'\)"),
    ],
)
def test_a_row_that_cannot_be_read_is_a_sentence(row: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_bytes(as_lines([{"inputs": "a", "targets": "b"}, row]))
    with pytest.raises(DataError, match=sentence):
        read_examples(tmp_path / "first.jsonl")


def test_columns_are_named_in_the_study(tmp_path: Path) -> None:
    rows = [{"question": asked, "answer": answer, "kind": f"Kind {k % 2}", "area": "x y"}
            for k, (asked, answer) in enumerate(PAIRS)]  # fmt: skip
    (tmp_path / "all.jsonl").write_bytes(as_lines(rows))
    with pytest.raises(DataError, match=r"not a known format.*Perhaps: \{prompt: question, target: answer\}"):
        load_tasks(Tasks(source=str(tmp_path)))
    fields = Fields(prompt="question", target="answer", task="kind", cluster="area")
    for source in (tmp_path, tmp_path / "all.jsonl"):
        tasks = load_tasks(Tasks(source=str(source), fields=fields))
        assert [(task.name, task.cluster) for task in tasks] == [("Kind_0", "x_y"), ("Kind_1", "x_y")]
        assert sum(len(task.train) + len(task.validation) + len(task.test) for task in tasks) == len(PAIRS)
    (only,) = load_tasks(Tasks(source=str(tmp_path), fields=fields, only=["Kind_1"], clusters={"mine": ["Kind_1"]}))
    assert (only.name, only.cluster) == ("Kind_1", "mine")
    with pytest.raises(DataError, match=r"no task 'Kind_2'. Did you mean 'Kind_"):
        load_tasks(Tasks(source=str(tmp_path), fields=fields, only=["Kind_2"]))
    with pytest.raises(DataError, match=r"line 1 has no column 'answers' for the target. Did you mean 'answer'\?"):
        load_tasks(Tasks(source=str(tmp_path), fields=Fields(prompt="question", target="answers")))
    (tmp_path / "all.jsonl").write_bytes(as_lines([*rows, rows[0] | {"kind": "kind_0"}]))
    with pytest.raises(DataError, match="'kind_0' and 'Kind 0' name one task"):
        load_tasks(Tasks(source=str(tmp_path), fields=fields))
    (tmp_path / "all.jsonl").write_bytes(as_lines([*rows, rows[0] | {"kind": "other", "area": "x#y"}]))
    with pytest.raises(DataError, match=r"'x#y' and 'x y' name one cluster; spell it one way, or rename one"):
        load_tasks(Tasks(source=str(tmp_path), fields=fields))


def test_a_task_column_of_flan_makes_many_tasks_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_bytes(as_lines(examples("first") + examples("colour")))
    tasks = load_tasks(Tasks(source=str(tmp_path), fields=Fields(task="task")))
    assert [task.name for task in tasks] == ["colour", "first"]
    assert remarks(tasks) == [
        "all tasks are in one cluster; tasks.json or tasks.clusters may say which belong together"
    ]


def test_two_formats_that_fit_are_told(tmp_path: Path) -> None:
    rows = [ROWS["OpenAI"](*pair) | {"prompt": f"other {pair[0]}", "completion": "x"} for pair in PAIRS]
    (tmp_path / "first.jsonl").write_bytes(as_lines(rows))
    (task,) = load_tasks(Tasks(source=str(tmp_path)))
    assert task.test[0].target != "x"
    assert remarks([task]) == [
        "read as messages; prompt and completion fits too: name columns under tasks.fields to choose"
    ]
    (task,) = load_tasks(Tasks(source=str(tmp_path), fields=Fields(prompt="prompt", target="completion")))
    assert task.test[0].target == "x" and not remarks([task])


def test_a_column_of_content_that_a_recognised_format_does_not_have_is_told(tmp_path: Path) -> None:
    rows = [ROWS["TRL"](*pair) | {"system": "Be kind.", "id": 1} for pair in PAIRS]
    (tmp_path / "first.jsonl").write_bytes(as_lines(rows))
    assert remarks(load_tasks(Tasks(source=str(tmp_path)))) == [
        "read as prompt and completion, without system: name columns under tasks.fields to use them"
    ]
    (task,) = load_tasks(Tasks(source=str(tmp_path), fields=Fields(system="system")))
    assert task.test[0].before == (("system", "Be kind."),) and not remarks([task])


def test_answers_that_are_marked_as_wanted_or_not_are_refused_until_the_columns_are_named(tmp_path: Path) -> None:
    rows = [ROWS["TRL"](*pair) | {"label": k % 2 == 0} for k, pair in enumerate(PAIRS)]
    (tmp_path / "first.jsonl").write_bytes(as_lines(rows))
    with pytest.raises(DataError, match=r"line 1: 'label' is true, as in sets of preferences.*name prompt and target"):
        load_tasks(Tasks(source=str(tmp_path)))
    assert load_tasks(Tasks(source=str(tmp_path), fields=Fields(prompt="prompt", target="completion")))


def test_a_text_that_is_named_may_be_called_as_an_image_is(tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_bytes(as_lines([{"image": asked, "answer": answer} for asked, answer in PAIRS]))
    fields = Fields(prompt="image", target="answer")
    (task,) = load_tasks(Tasks(source=str(tmp_path), fields=fields))
    assert not task.left_out


def test_system_files_are_ignored_and_counted(tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_bytes(as_lines([ROWS["FLAN"](*pair) for pair in PAIRS]))
    for name in ("._first.jsonl", ".DS_Store", "Thumbs.db", "desktop.ini", "~$first.csv", ".hidden.json"):
        (tmp_path / name).write_bytes(b"\0\1\2")
    (task,) = load_folder(tmp_path, LIMITS, 0)
    assert task.name == "first" and remarks([task]) == [
        "ignored 6 system files: .DS_Store, ._first.jsonl, .hidden.json"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"),
        ("a b", "a\u00a0 \n b"),
        ("\ufb01sh", "fish"),
        ("\uff11", "1"),
    ],
)
def test_prompts_that_read_alike_are_one_prompt(one: str, other: str) -> None:
    made = [Example(f"{text} {k}", text) for k in range(40) for text in (one, other)]
    train, validation, test = split_by_input(made, Limits(1000, 4, 10), 0, "t")
    assert (len(train), len(validation), len(test)) == (2 * (40 - 14), 4, 10)
    assert split_by_input(made[::-1], Limits(1000, 4, 10), 0, "t")[2] != () and len({e.prompt for e in test}) == 10


@given(seed=st.integers(0, 5))
def test_folding_moves_no_prompt_that_it_does_not_merge(seed: int) -> None:
    made = [Example(f"half: \u00bd and {k}", "x") for k in range(40)]
    plain = [Example(one.prompt.replace("\u00bd", "\u00be"), "x") for one in made]  # another sign, another draw
    assert split_by_input(made, Limits(9, 9, 9), seed, "t") != split_by_input(plain, Limits(9, 9, 9), seed, "t")


# LLaMA-Factory


def save_llama_factory(folder: Path) -> None:
    """Save a folder as LLaMA-Factory's documentation has it."""
    (folder / "qa.json").write_text(
        json.dumps([{"instruction": "Answer.", "context": asked, "output": answer} for asked, answer in PAIRS])
    )
    (folder / "turned.json").write_text(
        json.dumps([{"instruction": answer, "input": asked, "output": "x"} for asked, answer in PAIRS])
    )
    chats = [
        {
            "chat": [
                {"speaker": "boss", "text": "Be kind."},
                {"speaker": "me", "text": asked},
                {"speaker": "you", "text": answer},
            ]
        }
        for asked, answer in PAIRS
    ]
    (folder / "talk.json").write_text(json.dumps(chats))
    info = {
        "qa_set": {
            "file_name": "qa.json",
            "columns": {"prompt": "instruction", "query": "context", "response": "output"},
        },
        "turned": {"file_name": "turned.json", "columns": {"prompt": "input", "response": "instruction"}},
        "talk": {
            "file_name": "talk.json",
            "formatting": "sharegpt",
            "columns": {"messages": "chat"},
            "tags": {
                "role_tag": "speaker",
                "content_tag": "text",
                "user_tag": "me",
                "assistant_tag": "you",
                "system_tag": "boss",
            },
        },
        "elsewhere": {"hf_hub_url": "someone/something"},
        "absent": {"file_name": "absent.json"},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


def test_dataset_info_is_followed(tmp_path: Path) -> None:
    save_llama_factory(tmp_path)
    tasks = {task.name: task for task in load_folder(tmp_path, LIMITS, 0)}
    assert sorted(tasks) == ["qa_set", "talk", "turned"]
    assert {(one.prompt, one.target) for one in tasks["qa_set"].test} <= {(f"Answer.\n{a}", b) for a, b in PAIRS}
    assert {(one.prompt, one.target) for one in tasks["turned"].test} <= set(PAIRS)
    assert {(one.prompt, one.target, one.before) for one in tasks["talk"].test} <= {
        (*pair, (("system", "Be kind."),)) for pair in PAIRS
    }
    assert read_examples(tmp_path / "qa.json", "qa")[0].prompt == f"Answer.\n{PAIRS[0][0]}"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"columns": {"query": "context"}}, r"'qa': columns do not say which column is 'prompt'"),
        ({"columns": {"promt": "context"}}, r"columns has no 'promt'\. Did you mean 'prompt'"),
        (
            {"columns": {"prompt": "instructions", "response": "output"}},
            r"no column 'instructions' for the prompt\. ",
        ),
        ({"columns": ["prompt"]}, r"columns must be an object of texts"),
        ({"tags": {"role": "x"}, "formatting": "sharegpt"}, r"tags has no 'role'\. Did you mean 'role_tag'"),
        ({"formatting": "sharegtp"}, r"formatting is 'sharegtp'\. Did you mean 'sharegpt'"),
        ({"ranking": True}, r"holds preferences, not answers"),
        (
            {"columns": {"prompt": "instruction", "response": "output", "images": "pictures"}},
            r"columns\.images is 'pictures'\. Rows with images, audio or video are left out, but only if",
        ),
    ],
)
def test_a_dataset_info_that_cannot_be_followed_is_a_sentence(
    entry: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    save_llama_factory(tmp_path)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"qa": {"file_name": "qa.json", **entry}}))
    with pytest.raises(DataError, match=sentence):
        load_folder(tmp_path, LIMITS, 0, ["qa"])


def test_a_listed_folder_without_data_or_with_several_instructions_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"qa": {"file_name": "several"}}')
    (tmp_path / "several").mkdir()
    with pytest.raises(DataError, match=r"several, which dataset_info\.json lists, has no file of data"):
        load_folder(tmp_path, LIMITS, 0)
    for name in ("one.json", "two.json"):
        (tmp_path / "several" / name).write_text('{"Definition": ["Do it."], "Instances": []}')
    with pytest.raises(
        DataError, match=r"several: a task of Super-NaturalInstructions is one file; list each of the 2"
    ):
        load_folder(tmp_path, LIMITS, 0)


# The hub


def save_set(folder: Path, rows: list[dict[str, Any]], *places: str) -> None:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / place)


def test_a_set_of_the_hub_is_read_and_then_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    rows = [ROWS["OpenAI"](*pair) | {"area": f"area {k % 2}"} for k, pair in enumerate(PAIRS)]
    root = tmp_path / "root"
    save_set(root / "someone/chats", rows[:60], "default/train/0000.parquet", "second/test/0000.parquet")
    save_set(root / "someone/chats", rows[60:], "default/train/0001.parquet")
    save_set(root / "someone/large", rows, "default/partial-train/0000.parquet")
    (root / "someone/plain/data").mkdir(parents=True)
    (root / "someone/plain/data/train.jsonl").write_bytes(as_lines(rows))
    (root / "someone/plain/data/test.jsonl").write_bytes(as_lines(rows[:40]))
    (root / "someone/plain/README.md").write_text("hello")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    settings = Tasks(source="hub:someone/chats", configuration="default", fields=Fields(task="area"), test=16)
    second = Tasks(source="hub:someone/chats", configuration="second", split="test", test=15)
    plain = Tasks(source="hub:someone/plain", revision=SHA, split="test", test=10)
    with hub(root, {"refs/convert/parquet"}) as (address, _):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
                            address + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
        first = load_tasks(settings)
        assert [(task.name, len(task.test)) for task in first] == [("area_0", 15), ("area_1", 15)]
        assert [(task.name, len(task.test)) for task in load_tasks(second)] == [("chats", 15)]
        assert [(task.name, len(task.test)) for task in load_tasks(plain)] == [("plain", 10)]
        assert not remarks(load_tasks(plain))
        assert "only the first part of this set" in remarks(load_tasks(Tasks(source="hub:someone/large")))[0]
        with pytest.raises(DataError, match=r"no split default/train.*second/test.*tasks\.configuration"):
            save_set(root / "someone/two", rows, "one/train/0.parquet", "second/test/0.parquet")
            load_tasks(Tasks(source="hub:someone/two"))
        with pytest.raises(DataError, match="does not exist, or is private"):
            load_tasks(Tasks(source="hub:someone/nothing"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert [task.content_hash for task in load_tasks(settings)] == [task.content_hash for task in first]
    assert len(load_tasks(plain)[0].test) == 10
    assert remarks(load_tasks(plain)) == [
        "HF_HUB_OFFLINE is set: 1 file read; whether the set has more is not known"
    ]  # fmt: skip
    with pytest.raises(DataError, match="not in the cache and HF_HUB_OFFLINE is set"):
        load_tasks(settings.model_copy(update={"configuration": "third"}))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": "tinyflan", "fields": {"task": "x"}}, r"tasks\.fields: the collection 'tinyflan' knows its own"),
        ({"source": "tinyflan", "split": "test"}, r"tasks\.split: only tasks of hub:owner/name"),
        ({"source": ".", "configuration": "x"}, r"tasks\.configuration: only"),
        ({"source": "./nothing.csv"}, r"nothing\.csv is neither a folder nor a file"),
        ({"source": __file__}, r"ends in none of \.jsonl, \.json, \.csv, \.tsv, \.parquet, and \.gz"),
    ],
)
def test_keys_that_would_change_nothing_and_wrong_places_are_sentences(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load_tasks(Tasks.model_validate(given))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": "a"}, "prompt and target go together"),
        ({"messages": "a", "target": "b"}, "messages hold the prompt and the target"),
        ({"input": "a"}, "input and history belong to a prompt"),
        ({"promt": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Fields.model_validate(fields)


# Prompts, listings, and what `mossa init` finds


def test_prompts_are_read_from_every_format(tmp_path: Path) -> None:
    rows = [{"inputs": "a", "template": 3}, {"prompt": "b"}, {"instruction": "c", "input": "d"},
            {"prompt": conversation("e", "f", "g")["messages"]}, conversation("h", "i"), conversation("k"),
            {"inputs": "l", "targets": ""}]  # fmt: skip
    (tmp_path / "prompts.jsonl").write_bytes(as_lines(rows))
    assert read_prompts(tmp_path / "prompts.jsonl") == [
        Example("a", "", "3"),
        Example("b", ""),
        Example("c\nd", ""),
        Example("g", "", None, (("user", "e"), ("assistant", "f"))),
        Example("h", ""),
        Example("k", ""),
        Example("l", ""),
    ]


@pytest.mark.parametrize("name", ROWS)
def test_a_comparison_reads_the_prompts_that_a_study_reads(name: str, tmp_path: Path) -> None:
    rows = [ROWS[name](*pair) | {"id": 1} for pair in PAIRS]
    for row in rows if name.startswith("alpaca") else ():  # some sets also hold all of it as one text, with the answer
        row["prompt"] = f"### Instruction: {row['instruction']} ### Output: {row['output']}"
    (tmp_path / "first.jsonl").write_bytes(as_lines(rows))
    asked = [one.prompt for one in read_examples(tmp_path / "first.jsonl")]
    assert [one.prompt for one in read_prompts(tmp_path / "first.jsonl")] == asked


def test_a_registered_collection_is_listed_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_pairs(settings: Tasks) -> list[Task]:
        """Pairs of something."""
        made = [Example(asked, answer) for asked, answer in PAIRS]
        return [Task("pairs", "c", *split_by_input(made, Limits(settings.train, 9, 20), settings.seed, "pairs"))]

    monkeypatch.setitem(COLLECTIONS, "mine", load_pairs)
    assert "pairs" in "\n".join(list_source("mine")) and list_source("mine")[-1] == "1 task in 1 cluster"
    assert any("mine" in line and "Pairs of something." in line for line in list_collections())
    assert show_task("pairs", "mine")[0] == "pairs: cluster c"


def test_a_conversation_is_shown_turn_by_turn(tmp_path: Path) -> None:
    rows = [conversation(asked, "well", asked, answer, system="Be kind.") for asked, answer in PAIRS]
    (tmp_path / "talk.jsonl").write_bytes(as_lines(rows))
    shown = "\n".join(show_task("talk", str(tmp_path / "talk.jsonl")))
    assert "--- system\nBe kind.\n\n--- user\nsay" in shown and "--- assistant\nwell\n\n--- prompt\nsay" in shown


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (ROWS["OpenAI"]("a", "b"), '# fields: {messages: "messages"}   # recognised: messages'),
        (ROWS["OpenAI"]("a", "b") | ROWS["TRL"]("a", "b"), "recognised: messages; prompt and completion fits too"),
        ({"question": "a", "answer": "b"}, 'fields: {prompt: "question", target: "answer"}   # a guess'),
        ({"instruction": "a", "context": "c", "response": "b"}, '"instruction", input: "context", target: "response"}'),
        ({"x": "a", "y": "b"}, "name two of the columns: x, y"),
        ({"question": "a", "answer": "b", "category": "c"}, "# add `task: category` to fields"),
    ],
)
def test_init_writes_the_mapping_that_it_found(row: dict[str, Any], line: str, tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_bytes(as_lines([row] * 2))
    assert line in "\n".join(found_mapping(str(tmp_path)))
    save_llama_factory(tmp_path)
    (tmp_path / "first.jsonl").unlink()
    assert "as dataset_info.json says of qa_set" in found_mapping(str(tmp_path))[0]
    assert "not looked at yet" in found_mapping(str(tmp_path / "nothing"))[0]
