"""Place in a study and on the command line: the same numbers as `mossa.locate`, and on by count alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

import mossa
from mossa.study.schema import StudySettings
from mossa.tasks.split import Limits
from mossa.tasks.task import Example, Task
from mossa.units.models import located
from tests.run.command import mossa as run_mossa
from tests.run.command import run_again, tables
from tests.small import make_tokenizer, save_tasks
from tests.tasks.reading import load_folder


def test_a_study_the_command_line_and_python_say_the_same(finished, settings: dict, tmp_path: Path) -> None:
    place = tables(finished[0])["place"]
    assert set(place["experimental"]) == {"sft", "unseen"} and set(place["task"]) == {
        "first",
        "second",
        "colour",
        "again",
    }
    assert set(place[place["experimental"].eq("unseen") & place["held_out"]]["task"]) == {"second", "colour"}
    lines = _test_examples(finished[0], "first")
    (tmp_path / "first.jsonl").write_text("\n".join(map(json.dumps, lines)))
    adapter = finished[0] / "runs/small/units/train/sft/adapter"
    base = settings["base"]["model"]
    ran = run_mossa(
        tmp_path,
        *("locate", "--base", base, "--tuned", str(adapter), "--tasks", "first.jsonl", "--output", "place.csv"),
    )
    assert ran.code == 0, ran.output
    assert "first: 24 of 24 examples, 0 do not fit" in ran.output and "Layer " in ran.output
    typed = pd.read_csv(tmp_path / "place.csv").set_index(["reading", "layer"])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
    held = mossa.locate(
        None, model, make_tokenizer(), [line["inputs"] for line in lines], [line["targets"] for line in lines]
    ).table.set_index(["reading", "layer"])
    studied = place[place["experimental"].eq("sft") & place["task"].eq("first")].set_index(["reading", "layer"])
    for found in (typed, studied):
        both = held.merge(found, left_index=True, right_index=True, suffixes=("", "_other"))
        assert len(both) == len(held)
        assert (both["value"].astype(float) - both["value_other"].astype(float)).abs().max() < 1e-4
        assert both["value"].isna().equals(both["value_other"].isna())


def _test_examples(folder: Path, task: str) -> list[dict[str, str]]:
    study: dict[str, Any] = yaml.safe_load((folder / "small.yaml").read_text())
    found = load_folder(Path(study["tasks"]["source"]), Limits(48, 8, 24), 0, [task])[0]
    return [{"inputs": example.prompt, "targets": example.target} for example in found.test]


def test_a_task_of_which_no_example_fits_gives_rows_with_the_reason(settings: dict, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    source = save_tasks(tmp_path / "tasks")
    file = source / "second.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps(line | {"inputs": line["inputs"] + " one" * 200}) for line in lines))
    study = {
        **{name: settings[name] for name in ("name", "base", "place")},
        "tasks": {**settings["tasks"], "source": str(source), "only": ["first", "second"]},
        "recipe": {**settings["recipe"], "budget": {"steps": 2}},
        "control": {"seeds": [0]},
        "experimental": {"sft": {"mixture": "all"}},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    done, failed, _ = run_again(tmp_path)
    assert "place/sft@second" in done, failed
    rows = pd.read_parquet(tmp_path / "runs/small/units/place/sft@second/place.parquet")
    assert set(rows["layer"]) == {1, 2, 3} and {"one-layer-change", "answer-gain", "shapley"} <= set(rows["reading"])
    assert rows["value"].isna().all() and rows["n"].eq(0).all()
    assert rows["reason"].eq("only 0 prompts; 4 are needed").all()


def test_place_is_read_where_it_costs_less_than_a_fifth(settings: dict) -> None:
    def tasks(train: int) -> list[Task]:
        names = {"naming": ("second", "colour"), "copying": ("first", "again")}
        made = tuple(Example(str(n), "x") for n in range(train))
        return [Task(task, cluster, made, (), made[:24]) for cluster, those in names.items() for task in those]

    plain = {name: value for name, value in settings.items() if name != "place"}
    steps = {"recipe": {**settings["recipe"], "budget": {"epochs": 3}}}
    for given, count, expected in (
        (plain | steps, 48, []),
        (plain | steps, 20_000, ["sft", "unseen"]),
        (settings | steps | {"place": False}, 20_000, []),
        (settings | steps, 48, ["sft", "unseen"]),
    ):
        assert located(StudySettings.model_validate(given), tasks(count)) == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--tasks": "nowhere.jsonl"}, "--tasks nowhere.jsonl: there is no such file or folder"),
        ({"--reading": "graf"}, "there is no reading 'graf'. Did you mean 'graft'?"),
        ({"--window": "4"}, "window is 4; give an odd number of layers"),
        ({"--output": "place.txt"}, "a file that ends in .csv or .json"),
    ],
)
def test_mistakes_end_in_one_sentence(change: dict[str, str], sentence: str, finished, settings, tmp_path) -> None:
    lines = _test_examples(finished[0], "first")
    (tmp_path / "first.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = {
        "--base": settings["base"]["model"],
        "--tuned": str(finished[0] / "runs/small/units/train/sft/adapter"),
        "--tasks": "first.jsonl",
    } | change
    ran = run_mossa(tmp_path, "locate", *(word for pair in given.items() for word in pair))
    assert ran.code == 2 and sentence in ran.output and "Traceback" not in ran.output
