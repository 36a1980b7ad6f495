"""The command line as a person meets it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from mossa.errors import choices
from tests.run.command import mossa

LIGHT = """
import sys, {module}
heavy = {{"torch", "transformers", "pandas", "sklearn", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
HELP = """
import sys
from mossa.cli import app
sys.argv = ["mossa", "--help"]
try:
    app()
except SystemExit:
    pass
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("module", ["mossa", "mossa.cli", "mossa.study", "mossa.report"])
def test_importing_is_light(module: str) -> None:
    subprocess.run([sys.executable, "-c", LIGHT.format(module=module)], check=True)


def test_help_imports_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in ("init", "validate", "run", "status", "report"))


def test_from_init_to_validate(base_folder, task_folder: Path, tmp_path: Path) -> None:
    ran = mossa(tmp_path, "init", "mine.yaml", "--base", str(base_folder("llama")), "--tasks", str(task_folder))
    assert ran.code == 0 and "mossa validate mine.yaml" in ran.output
    ran = mossa(tmp_path, "validate", "mine.yaml")
    assert ran.code == 0, ran.output
    assert "4 tasks in 2 clusters" in ran.output and "llama, 3 layers of width 32" in ran.output
    assert "base.dtype: auto is float32" in ran.output and "rehearsal: prompts of" in ran.output
    assert "adapters on: q_proj, v_proj" in ran.output and "96 test prompts" not in ran.output


def test_validate_lists_everything_it_can_find(base_folder, task_folder: Path, tmp_path: Path) -> None:
    study = {
        "name": "x",
        "base": {"model": str(base_folder("llama"))},
        "prompt": {"cutoff": 12},
        "tasks": {"source": str(task_folder)},
        "recipe": {"lora": {"targets": ["q_porj"]}},
        "experimental": {
            "pretrained": "base",
            "sft": {"mixture": ["copyng"]},
            "held": {"mixture": "all", "hold_out": ["frist"]},
            "given": {"adapter": "./nowhere"},
        },
        "similarity": {"estimators": ["cka-liner"]},
    }
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    ran = mossa(tmp_path, "validate", "x.yaml")
    assert ran.code == 2 and "6 problems" in ran.output
    for sentence in (
        "Did you mean 'copying'?",
        "Did you mean 'first'?",
        "nowhere is not a folder",
        "cka-linear",
        "too few examples fit the model's 12 tokens",
        "the base has no q_porj",
    ):
        assert sentence in ran.output, sentence
    lines = [line for line in ran.output.splitlines() if "!!" in line]
    assert all("line " in line for line in lines), lines


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("tasks.source=./nowhere", "is neither a folder nor a file"),
        ("tasks.source=flan", "neither a folder, a file nor a collection"),
        ("base.model=nobody/nothing", "cannot be loaded"),
        ("tasks.only=[frist]", "Did you mean 'first'?"),
        ("name=../out", "cannot be the name of a study"),
        ("control.seeds=[]", "control.seeds"),
        ("recipe.batch_size=0", "recipe.batch_size"),
        ("similarity.estimators=[cka]", "There is no estimator 'cka'"),
        ("prompt.too_long=cut", "prompt.too_long"),
        ("experimental.control=base", "kept for control models"),
        ("tasks.only=[]", "tasks.only"),
        ("experimental.sft={mixture: all, hold_out: [copying, naming]}", "nothing is left to tune on"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    base_folder, task_folder: Path, tmp_path: Path, change: str, sentence: str
) -> None:
    study = {"name": "x", "base": {"model": str(base_folder("llama"))}, "tasks": {"source": str(task_folder)}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study))
    for verb in ("validate", "run"):
        ran = mossa(tmp_path, verb, "x.yaml", "-s", change)
        assert ran.code == 2 and sentence in ran.output, ran.output
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out").exists()


def test_help_groups_commands_in_the_order_of_use_and_shows_an_example() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    places = [done.stdout.index(word) for word in ("Prepare a study", "Run it", "Read it", "Without a study")]
    assert places == sorted(places) and "mossa run demo" in done.stdout


def test_the_version_is_told(tmp_path: Path) -> None:
    ran = mossa(tmp_path, "--version")
    assert ran.code == 0 and ran.output == f"mossa {version('mossa')}\n"


@pytest.mark.parametrize(
    ("value", "options", "sentence"),
    [
        ("cka-liner", ["cka-linear", "cka-rbf"], "Did you mean 'cka-linear'? The choices are: cka-linear, cka-rbf."),
        (
            "task1",
            [f"task{i}" for i in range(10, 30)],
            "Did you mean 'task10' or 'task11' or 'task12'? There are 20 choices in all.",
        ),
        ("zzz", [f"task{i}" for i in range(10, 30)], "The choices are: task10, task11, "),
        ("zzz", [], "The choices are: (none)."),
    ],
)
def test_a_near_miss_gets_suggestions_not_a_hundred_names(value: str, options: list[str], sentence: str) -> None:
    told = choices(value, options)
    assert told.startswith(sentence) and len(told) < 140
