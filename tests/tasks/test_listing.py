"""`mossa tasks ls` and `mossa tasks show`, without torch and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mossa.cli import app
from mossa.errors import MossaError
from mossa.tasks.flan2021.catalogue import catalogue
from mossa.tasks.listing import list_collections, list_source, show_task
from tests.tasks.replica import hub
from tests.tasks.test_flan2021 import save_copy

LIGHT = """
import sys
from mossa.cli import main
sys.argv = ["mossa", "tasks", *sys.argv[1:]]
main()
heavy = {"torch", "transformers", "pandas", "datasets"} & set(sys.modules)
assert not heavy, heavy
"""


def test_collections_are_listed_with_their_sizes() -> None:
    text = "\n".join(list_collections())
    assert "tinyflan        60 tasks in 12 clusters" in text
    assert "flan2021        66 tasks in 12 clusters" in text
    assert "flan2021-raw    65 tasks in 12 clusters" in text


@pytest.mark.parametrize(
    ("source", "sentences"),
    [
        ("tinyflan", ["sentiment (4): films, meals", "60 tasks in 12 clusters"]),
        (
            "flan2021",
            ["coreference (2): definite_pronoun_resolution, wsc", "30,000 train", "newsroom, winogrande, xsum"],
        ),
        ("flan2021-raw", ["coreference (3)", "65 tasks in 12 clusters", "Without templates of ours: story_cloze"]),
    ],
)
def test_a_collection_is_listed_by_cluster(source: str, sentences: list[str]) -> None:
    text = "\n".join(list_source(source))
    assert all(sentence in text for sentence in sentences), text


def test_a_study_and_a_folder_are_listed_with_what_they_hold(task_folder: Path, tmp_path: Path) -> None:
    study = {"name": "x", "base": {"model": "y/z"}, "tasks": {"source": str(task_folder), "train": 48, "test": 24}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study))
    lines = list_source(str(tmp_path / "x.yaml"))
    assert lines[1].split() == ["again", "48", "12", "24", "copying"] and lines[-1] == "4 tasks in 2 clusters"
    assert "4 tasks in 2 clusters" in "\n".join(list_source(str(task_folder)))
    shown = "\n".join(show_task("colour", str(tmp_path / "x.yaml")))
    assert "colour: cluster naming\n48 train, 12 validation, 24 test" in shown and shown.count("--- target") == 3


def test_a_task_is_shown_with_its_prompts(tmp_path: Path) -> None:
    tiny = "\n".join(show_task("meals", None))
    assert tiny.startswith("meals: TinyFLAN, cluster sentiment") and tiny.count("--- prompt (meals-") == 3
    flan = "\n".join(show_task("rte", None))
    assert "raw: aps/super_glue rte (train and validation)" in flan and " 10. " in flan and "not in the cache" in flan
    assert "hub's copy: not there" in "\n".join(show_task("xsum", "flan2021"))
    save_copy(tmp_path, {"wic": "again"})
    copied = "\n".join(show_task("wic", str(tmp_path)))
    assert "80 train, 10 validation, 30 test" in copied and "--- prompt\n" in copied


def test_a_long_prompt_is_shortened_and_says_so(tmp_path: Path) -> None:
    lines = [f'{{"inputs": "{number} {"word " * 400}", "targets": "x"}}' for number in range(40)]
    (tmp_path / "long.jsonl").write_text("\n".join(lines))
    (tmp_path / "tasks.json").write_text('{"clusters": {"c": ["long"]}}')
    assert "… (2,00" in "\n".join(show_task("long", str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("rtee", None, r"no collection has a task 'rtee'\. Did you mean 'rte'\?"),
        ("meels", "tinyflan", r"tinyflan has no task 'meels'\. Did you mean 'meals'\?"),
        ("meels", "demo", r"demo has no task 'meels'\. Did you mean 'meals'\?"),
        ("meals", "demoo", r"'demoo' is not a study, folder or collection\. Did you mean 'demo'\?"),
        ("meals", "none.yaml", r"none\.yaml does not exist\. Give a study file"),
        ("meals", "./none", r"\./none does not exist"),
    ],
)
def test_what_is_not_there_lists_the_choices(name: str, source: str | None, sentence: str) -> None:
    with pytest.raises(MossaError, match=sentence):
        show_task(name, source)


def test_the_command_line_says_the_same() -> None:
    ran = CliRunner().invoke(app, ["tasks", "ls", "flan2021"])
    assert ran.exit_code == 0 and ran.output.splitlines() == list_source("flan2021")
    ran = CliRunner().invoke(app, ["tasks", "show", "meals", "--of", "tinyflan"])
    assert ran.exit_code == 0 and "cluster sentiment" in ran.output


def test_it_is_light_and_shows_what_is_cached(tmp_path: Path) -> None:
    save_copy(tmp_path / "hub" / catalogue()["repository"], {"rte": "first"})
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    study = {"name": "x", "base": {"model": "y/z"}, "tasks": {"source": "flan2021", "only": ["rte"], "test": 20}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study))

    def run(address: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, *words],
            env={**environment, "HF_ENDPOINT": address},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with hub(tmp_path / "hub", {catalogue()["revision"]}) as (address, _):
        assert "rte" in run(address, "ls", "x.yaml")
    shown = run("http://127.0.0.1:9", "show", "rte")
    assert "80 train, 10 validation, 30 test" in shown and shown.count("--- target") == 3
