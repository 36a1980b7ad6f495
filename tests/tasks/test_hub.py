"""Tasks from the hub: the hub's real client against a replica of the hub, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mossa.study.schema import Tasks
from mossa.tasks.collections import load_tasks
from mossa.tasks.flan2021.catalogue import catalogue, entries
from mossa.tasks.flan2021.sources import CONVERTED, SPLITS, file_name, groups
from tests.tasks.raw_rows import save_raw
from tests.tasks.replica import TOKEN, hub
from tests.tasks.test_flan2021 import save_copy

FLAN, REVISION = catalogue()["repository"], catalogue()["revision"]
# Loads the tasks of one case after another and prints what came of each: the tasks or the sentence.
ASK = """
import json, sys
from mossa.errors import MossaError
from mossa.study.schema import Tasks
from mossa.tasks.collections import load_tasks
for case in json.loads(sys.argv[1]):
    try:
        tasks = load_tasks(Tasks(**case))
        print(json.dumps({t.name: [len(t.train), len(t.validation), len(t.test), t.content_hash] for t in tasks}))
    except MossaError as error:
        print(json.dumps(str(error)))
assert not {"torch", "transformers", "datasets"} & set(sys.modules)
"""
CLOSED = "http://127.0.0.1:9"  # nobody listens there


def ask(address: str, home: Path, *cases: dict, token: str = "", offline: bool = False) -> list:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))},
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **({"HF_TOKEN": token} if token else {}),
        **({"HF_HUB_OFFLINE": "1"} if offline else {}),
    }
    words = [sys.executable, "-c", ASK, json.dumps(cases)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a hub that has four datasets of the rendered copy and all raw ones."""
    root = tmp_path_factory.mktemp("hub")
    save_copy(root / FLAN, {"rte": "first", "cb": "colour", "copa": "second", "wic": "again"})
    for name in groups():
        save_raw(root, name)
    return root


@pytest.fixture
def served(root: Path) -> Iterator[tuple[str, list[str]]]:
    with hub(root, {REVISION, CONVERTED}) as address_and_asked:
        yield address_and_asked


def test_the_copy_is_downloaded_once_and_read_without_network_after(served, tmp_path: Path) -> None:
    address, asked = served
    case = {"source": "flan2021", "only": ["rte", "copa"], "train": 50, "validation": 5, "test": 20}
    (first,) = ask(address, tmp_path, case)
    assert {name: sizes[:3] for name, sizes in first.items()} == {"rte": [50, 5, 20], "copa": [50, 5, 20]}
    got = [line for line in asked if line.startswith("GET datasets/")]
    assert sorted(got) == sorted(
        f"GET datasets/{FLAN}/resolve/{REVISION}/{file_name(name, split)}"
        for name in ("rte", "copa")
        for split in SPLITS
    )
    asked.clear()
    assert ask(address, tmp_path, case) == [first] and not asked
    assert ask(CLOSED, tmp_path, case) == [first]
    assert ask(CLOSED, tmp_path, case, offline=True) == [first]


def test_a_download_that_stopped_goes_on_where_it_was(root: Path, tmp_path: Path) -> None:
    case = {"source": "flan2021", "only": ["rte"]}
    with hub(root, {REVISION}, gated=[f"{FLAN}/test"]) as (address, asked):
        (sentence,) = ask(address, tmp_path, case)
        assert "is gated" in sentence
        asked.clear()
        (tasks,) = ask(address, tmp_path, case, token=TOKEN)
        assert list(tasks) == ["rte"]
        assert [line for line in asked if line.startswith("GET datasets/")] == [
            f"GET datasets/{FLAN}/resolve/{REVISION}/{file_name('rte', 'test')}"
        ]


def test_every_raw_dataset_becomes_a_task(served, tmp_path: Path) -> None:
    everything = {"source": "flan2021-raw", "train": 100, "test": 100, "validation": 2}
    (tasks,) = ask(served[0], tmp_path, everything)
    assert set(tasks) == set(groups())
    for name, (train, validation, test, _) in tasks.items():
        own = groups()[name].datasets[name].test is not None
        assert (train, validation, test) == ((22, 2, 8) if own else (16, 2, 6)), name
    few = {**everything, "only": ["rte", "translation"]}
    again, nowhere = ask(
        CLOSED, tmp_path, few, {"source": "flan2021-raw", "only": ["rte"], "revision": "x"}, offline=True
    )
    assert again == {name: tasks[name] for name in again} and len(again) == 9
    assert "rte, train is not in the cache and HF_HUB_OFFLINE is set" in nowhere


def test_what_the_hub_refuses_is_a_sentence(root: Path, tmp_path: Path) -> None:
    copy = {"source": "flan2021", "only": ["rte"]}
    with hub(root, {REVISION}, gated=[FLAN]) as (address, _):
        (gated,) = ask(address, tmp_path, copy)
        (refused,) = ask(address, tmp_path, copy, token="hf_wrong")
        revision, file = ask(address, tmp_path, {**copy, "revision": "v9"}, {**copy, "only": ["snli"]})
    assert f"is gated: ask for access at https://huggingface.co/datasets/{FLAN}" in gated
    assert "No token is set here: log in with `hf auth login`" in gated and "No token" not in refused
    assert "at revision v9: there is no such revision. Set tasks.revision, for example to main" in revision
    assert "has no file train/snli_10templates_train.jsonl and 2 others" in file and "tasks.only" in file
    with hub(root.parent, {REVISION}) as (address, _):
        (missing,) = ask(address, tmp_path, copy)
        (private,) = ask(address, tmp_path, copy, token="hf_wrong")
    assert "does not exist, or is private. No token is set here" in missing
    assert "does not exist, or is private. The token that is set gives no access to it" in private


def test_without_a_network_the_sentence_says_what_to_run(tmp_path: Path) -> None:
    copy = {"source": "flan2021", "only": ["rte"]}
    (closed,) = ask(CLOSED, tmp_path, copy)
    (offline,) = ask(CLOSED, tmp_path, copy, offline=True)
    command = f"hf download {FLAN} --repo-type dataset --revision {REVISION}"
    assert "cannot be reached" in closed and command in closed and str(tmp_path) in closed
    assert "3 of 3 files are not in the cache" in offline and "HF_HUB_OFFLINE" in offline and command in offline


def test_a_raw_dataset_that_changed_or_was_cut_is_a_sentence(root: Path, tmp_path: Path) -> None:
    changed = tmp_path / "hub"
    for name in ("rte", "sst2", "aeslc", "trec"):
        folder = groups()[name].datasets[name].repository
        shutil.copytree(root / folder, changed / folder, dirs_exist_ok=True)
    (changed / "nyu-mll/glue/sst2/validation").rename(changed / "nyu-mll/glue/sst2/dev")
    table = changed / "aps/super_glue/rte/train/0000.parquet"
    parquet.write_table(pa.Table.from_pylist([{"premise": "a", "claim": "b", "label": 0}]), table)
    cut = changed / "Yale-LILY/aeslc/plain_text/test/0000.parquet"
    cut.write_bytes(cut.read_bytes()[:-100])
    labels = changed / "CogComp/trec/plain_text/train/0000.parquet"
    parquet.write_table(pa.Table.from_pylist([{"text": "a?", "coarse_label": -1}]), labels)
    with hub(changed, {CONVERTED}) as (address, _):
        cases = ({"source": "flan2021-raw", "only": [name]} for name in ("rte", "sst2", "aeslc", "trec"))
        column, split, broken, useless = ask(address, tmp_path / "home", *cases)
    assert "has no column 'hypothesis'; its columns are: premise, claim, label" in column and "tasks.revision" in column
    assert "has no split sst2/validation" in split and "sst2/dev" in split
    assert "is not a whole parquet file" in broken and "delete it and run again" in broken
    assert "no row can be used (1 without a label)" in useless


def test_every_name_of_the_copy_has_three_files_with_plain_paths() -> None:
    paths = {file_name(entry.name, split) for entry in entries().values() for split in SPLITS}
    assert len(paths) == 3 * 69 and all(path.count("/") == 1 and ".." not in path for path in paths)


def test_the_datasets_library_reads_the_same_lines(root: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = {split: str(root / FLAN / file_name("rte", split)) for split in SPLITS}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path))
    task = load_tasks(Tasks(source=str(root / FLAN), only=["rte"], train=500, validation=500, test=500))[0]
    for split in SPLITS:
        ours = {(example.prompt, example.target) for example in getattr(task, split)}
        assert ours == {(row["inputs"], row["targets"]) for row in loaded[split]}
        assert {row["task"] for row in loaded[split]} == {"rte_10templates"}
