"""Mistakes that beginners make, each answered by a sentence that says how to fix it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.run.command import mossa

# What was typed, and the words of the answer that say how to fix it. `study` is a good study, made by `scene`.
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "a verb that does not exist": (["rnu", "study.yaml"], ["No such command 'rnu'", "run"]),
    "no study given": (["run"], ["Missing argument 'study'", "run --help"]),
    "a study that is not there": (["run", "studdy.yaml"], ["does not exist", "mossa init studdy.yaml"]),
    "the name of a study with a typo": (["run", "demoo"], ["demoo does not exist", "Did you mean demo?"]),
    "a study with another ending": (["run", "study.yml"], ["Did you mean study.yaml?"]),
    "init without a base": (["init", "mine.yaml", "--tasks", "tasks"], ["Missing option '--base'"]),
    "a study without an ending": (["init", "mine", "--base", "base", "--tasks", "tasks"], ["try mine.yaml"]),
    "a tab in YAML": (["validate", "tab.yaml"], ["line 3", "not YAML", "spaces"]),
    "a base without a mapping": (["validate", "short.yaml"], ["base:", "write base: {model: …}"]),
    "a misspelt key": (["run", "study.yaml", "-s", "recipe.batchsize=8"], ["Did you mean 'batch_size'?"]),
    "an override with a space": (["run", "study.yaml", "-s", "recipe.batch_size 8"], ["-s recipe.batch_size=8"]),
    "a budget that is a number": (
        ["run", "study.yaml", "-s", "recipe.budget=300"],
        ["recipe.budget", "write budget: {epochs: …}", "steps"],
    ),
    "a task in words, not a list": (["run", "study.yaml", "-s", "tasks.only=first"], ["tasks.only", "[first]"]),
    "files of another kind": (["run", "study.yaml", "-s", "tasks.source=tables"], ["reviews.xlsx", "*.jsonl"]),
    "other names of fields": (
        ["run", "study.yaml", "-s", "tasks.source=chats"],
        ["line 1", "inputs", "targets", "{prompt: question, target: answer}"],
    ),
    "a line that is not JSON": (["run", "study.yaml", "-s", "tasks.source=broken"], ["line 2", "JSON"]),
    "a column by another name": (
        ["run", "study.yaml", "-s", "tasks.fields={prompt: inputs, target: target}"],
        ["no column 'target' for the target", "Did you mean 'targets'?"],
    ),
    "a template without its place": (["run", "study.yaml", "-s", "prompt.template=Answer"], ["Question: {prompt}"]),
    "too few examples": (["run", "study.yaml", "-s", "tasks.source=few"], ["needs at least 16"]),
    "a folder that is not a model": (["run", "study.yaml", "-s", "base.model=tasks"], ["config.json"]),
    "a task that is not there": (["run", "study.yaml", "-s", "tasks.only=[rt]"], ["tasks.only: ", "has no task 'rt'"]),
    "a layer that is not there": (
        ["validate", "study.yaml", "-s", "recipe.lora.layers=[99]"],
        [" recipe.lora.layers: no layer 99. The base has"],
    ),
    "an adapter that is a folder of tasks": (
        ["validate", "study.yaml", "-s", "experimental={pretrained: base, mine: {adapter: tasks}}"],
        ["experimental.mine: adapter", "this folder has no adapter_config.json", "save_pretrained"],
    ),
    "a base that is not a name": (["validate", "study.yaml", "-s", "base.model=tiny:a"], ["such as owner/name"]),
    "a colon without quotes": (["run", "study.yaml", "-s", "prompt.template=Question: what?"], ["in quotes"]),
    "an estimator by its first name": (["run", "study.yaml", "-s", "similarity.estimators=[cka]"], ["cka-linear"]),
    "a device by another name": (["run", "study.yaml", "--device", "gpu"], ["--device gpu", "cpu"]),
    "no workers": (["run", "study.yaml", "--workers", "0"], ["give 1 or more"]),
    "a report before a run": (["report", "study.yaml"], ["no results yet", "mossa run study.yaml"]),
    "prompts in a text file": (
        ["compare", "--base", "base", "--experimental", "base", "--control", "base", "--prompts", "prompts.txt"],
        ["prompts.txt", "line 1", "JSON"],
    ),
    "an unknown task": (["tasks", "show", "filmz"], ["Did you mean 'films'?"]),
    "an unknown collection": (["tasks", "ls", "flan"], ["flan2021"]),
    "an unknown GPU": (["plan", "study.yaml", "--gpu", "h1000"], ["h100"]),
}


@pytest.fixture(scope="module")
def scene(base_folder: Callable[[str], Path], task_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a good study, and with what goes wrong beside it."""
    folder = tmp_path_factory.mktemp("scene")
    (folder / "base").symlink_to(base_folder("llama"))
    (folder / "tasks").symlink_to(task_folder)
    study = {"name": "study", "base": {"model": "base"}, "tasks": {"source": "tasks"}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folder / "tab.yaml").write_text("name: tab\nbase:\n\tmodel: base\n")
    (folder / "short.yaml").write_text("name: short\nbase: base\ntasks: {source: tasks}\n")
    for name, file, text in (
        ("tables", "reviews.xlsx", "text,label\ngood,1\n"),
        ("chats", "chat.jsonl", json.dumps({"question": "hello", "answer": "hi"})),
        ("broken", "rte.jsonl", '{"inputs": "a", "targets": "b"}\n{"inputs": "a", \n'),
        ("few", "rte.jsonl", "\n".join(json.dumps({"inputs": f"say {n}", "targets": "b"}) for n in range(5))),
    ):
        (folder / name).mkdir()
        (folder / name / file).write_text(text + "\n")
        if name != "tables":
            (folder / name / "tasks.json").write_text(json.dumps({"clusters": {"mine": [file.split(".")[0]]}}))
    (folder / "prompts.txt").write_text("What is it?\n")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_by_a_sentence_that_says_how_to_fix_it(scene: Path, mistake: str) -> None:
    words, answer = MISTAKES[mistake]
    ran = mossa(scene, *words)
    assert ran.code == 2
    for part in answer:
        assert part in ran.output, ran.output
    assert not (scene / "runs").exists()
