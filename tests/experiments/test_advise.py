"""`python -m experiments.advice`: advice that PEFT loads, its test on held-out tasks, and plain words without."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from experiments.advice.advice import LayerAdvice
from experiments.advice.trial import draw_layers
from mossa import Study
from mossa.study.schema import StudySettings as Settings
from mossa.tasks.collections import load_tasks
from mossa.units.plan import plan
from tests import small
from tests.run.command import Ran, mossa

SEEN, NEW = 8, 3


@pytest.fixture(scope="module")
def advised(base_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """Return the folder of a study whose adapters lie on layer 3 alone, so that no other can rise; and its advice.

    Eleven tasks of one kind: what is learned on eight of them together comes close to what each control learned.
    """
    folder = tmp_path_factory.mktemp("advised")
    (folder / "tasks").mkdir()
    lines = small.examples("first", 50 * (SEEN + NEW))
    names = [f"new{k}" if k < NEW else f"seen{k}" for k in range(SEEN + NEW)]
    for k, name in enumerate(names):
        own = [json.dumps({**line, "task": name}) for line in lines[k :: SEEN + NEW]]
        (folder / "tasks" / f"{name}.jsonl").write_text("\n".join(own) + "\n")
    (folder / "tasks" / "tasks.json").write_text(json.dumps({"clusters": {"new": names[:NEW], "seen": names[NEW:]}}))
    study = {
        "name": "small",
        "base": {"model": str(base_folder("llama"))},
        "tasks": {"source": "tasks", "train": 24, "validation": 1, "test": 20},
        "recipe": {
            "preset": "small",
            "lora": {"rank": 4, "alpha": 8, "layers": [3]},
            "learning_rate": 5e-3,
            "batch_size": 8,
            "budget": {"steps": 30},
        },
        "experimental": {"pretrained": "base", "unseen": {"mixture": "all", "hold_out": ["new"]}},
        "similarity": {"other_controls": 0, "shift": False, "affinity": True},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(study))
    ran = mossa(folder, "run", "small.yaml", "--workers", "1", "--no-report")
    assert ran.code == 0, ran.output
    return folder, mossa(folder, "small.yaml", module="experiments.advice")


def test_advice_is_given_with_reason_and_saving_and_peft_loads_it(
    advised: tuple[Path, Ran], base_folder: Callable[[str], Path]
) -> None:
    folder, ran = advised
    assert ran.code == 0, ran.output
    assert "Adapt the layers" in ran.output and "There are no sections" in ran.output
    assert "need no backward pass" in ran.output and "new0 is most like seen" in ran.output
    written = folder / "runs" / "small" / "advice"
    config = LoraConfig.from_pretrained(str(written))
    table = pd.read_csv(written / "layers.csv")
    layers = table.loc[table["advised"], "layer"].tolist()
    assert layers == [3]
    assert config.layers_to_transform == [layer - 1 for layer in layers]
    made: dict = {}
    exec((written / "lora_config.py").read_text(), made)
    for name in ("r", "lora_alpha", "lora_dropout", "layers_to_transform", "layers_pattern", "task_type"):
        assert getattr(made["config"], name) == getattr(config, name), name
    assert set(made["config"].target_modules) == set(config.target_modules)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder("llama")), made["config"])
    assert isinstance(adapted, PeftModel)
    found = {name.split("layers.")[1][0] for name, part in adapted.named_modules() if isinstance(part, LoraLayer)}
    assert found == {str(layer - 1) for layer in layers}


@pytest.mark.slow  # three seeds on every choice of layers: 36 small trainings
def test_the_test_trains_every_arm_alike_goes_on_and_says_how_it_went(advised: tuple[Path, Ran]) -> None:
    folder, _ = advised
    words = ["small.yaml", "--validate", "--workers", "1"]
    first = mossa(folder, *words, module="experiments.advice")
    assert first.code == 0, first.output
    landed = (folder / "runs").glob("small-advice-*/units/train/*/manifest.json")
    before = {path: path.stat().st_mtime_ns for path in landed}
    assert "as many random layers" in first.output and "test loss" in first.output
    written = folder / "runs" / "small" / "advice"
    trained = pd.read_csv(written / "trainings.csv")
    assert set(trained["task"]) == {"new0", "new1", "new2"}
    table = pd.read_csv(written / "arms.csv").set_index("arm")
    assert "the advised layers are these themselves" in first.output and "last" not in set(trained["arm"])
    for arm, part in trained[trained["arm"] != "base"].groupby("arm"):
        assert len(part) == 9 and part["loss"].notna().all(), arm
    assert len(set(trained.loc[trained["arm"] == "random", "layers"])) > 1
    assert table.loc["advised", "weights"] == table.loc["random", "weights"] == table.loc["first", "weights"]
    assert list(table.loc[["advised", "random", "first", "all"], "rank"]) == [4, 4, 4, 1]  # 4 on a third of the layers
    against = pd.read_csv(written / "against.csv").set_index(["arm", "measure"])
    wide = trained.pivot(index=["task", "seed"], columns="arm", values="loss")
    expected = (wide["advised"] - wide["random"]).mean()
    assert against.loc[("random", "loss"), "difference"] == pytest.approx(expected, abs=1e-5)
    assert (written / "validation.md").read_text().startswith("# Is the advice any good?")
    again = _advice(folder).test(workers=1, progress=False)
    assert str(again) in first.output and not again.failed  # Python says the same, and trains nothing again
    assert len(before) == 36 and all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_where_there_is_no_advice_it_says_so_and_there_is_nothing_to_test(finished: tuple[Path, Ran]) -> None:
    folder, _ = finished  # four tasks, too few to be sure of anything
    ran = mossa(folder, "small.yaml", "--model", "sft", "--validate", module="experiments.advice")
    assert ran.code == 2 and "No advice can be given" in ran.output and "no advice to test" in ran.output
    written = folder / "runs" / "small" / "advice"
    assert not (written / "adapter_config.json").exists() and (written / "advice.md").exists()


@given(st.integers(2, 9), st.data())
def test_random_layers_are_as_many_never_the_advised_and_differ(depth: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, depth - 1))
    advised = data.draw(st.sampled_from(sorted(combinations(range(1, depth + 1), count))))
    drawn = draw_layers(depth, count, advised, (0, 1, 2))
    others = sum(1 for _ in combinations(range(depth), count)) - 1
    assert len(drawn) == 3 and advised not in drawn
    assert all(len(set(layers)) == count and set(layers) <= set(range(1, depth + 1)) for layers in drawn)
    assert len(set(drawn)) == min(3, others)
    assert drawn == draw_layers(depth, count, advised, (0, 1, 2))


def test_only_an_adapter_on_chosen_layers_is_another_unit(
    base_folder: Callable[[str], Path], task_folder: Path
) -> None:
    study = {"name": "small", "base": {"model": str(base_folder("llama"))}, "tasks": {"source": str(task_folder)}}
    tasks = load_tasks(Settings.model_validate(study).tasks)
    marks = [
        plan(Settings.model_validate({**study, "recipe": {"lora": lora}}), tasks)["train/sft"].settings["recipe"][
            "lora"
        ]
        for lora in ({}, {"layers": None}, {"layers": [2]})
    ]
    assert marks[0] == marks[1] and "layers" not in marks[0]  # what was trained before layers could be chosen stays
    assert marks[2] == {**marks[0], "layers": [2]}


def _advice(folder: Path) -> LayerAdvice:
    results = Study.load(folder / "small.yaml", runs=folder / "runs").results()
    return LayerAdvice(results.record, results.tables)
