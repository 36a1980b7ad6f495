"""The callback in real trainings: what it measures, what the loggers get, and that training is as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator, set_seed

import mossa
from mossa.errors import MossaError
from mossa.integrations import LayerwiseCallback
from tests.small import examples, make_model, make_tokenizer

PROMPTS = [example["inputs"] for example in examples("colour", 12)]
STEPS = 7


class Rows(torch.utils.data.Dataset):
    """Examples as tokens of one length."""

    def __init__(self) -> None:
        tokenizer = make_tokenizer()
        texts = [f"{each['inputs']} {each['targets']}" for each in examples("first", 40)]
        self.rows = [(tokenizer(text)["input_ids"] + [2] * 16)[:16] for text in texts]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class Heard(TrainerCallback):
    """Keeps what the trainer logs, as the callbacks of TensorBoard and W&B are given it."""

    def __init__(self) -> None:
        self.logs: list[tuple[int, dict[str, Any]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        self.logs.append((state.global_step, dict(logs)))


def make_trainer(folder: Path, adapter: bool, **changes: Any) -> tuple[Trainer, Heard]:
    """Return a trainer of a small model, all of it or an adapter with dropout, that logs every second step."""
    model = make_model("llama").train()
    set_seed(7)
    if adapter:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], lora_dropout=0.3))
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 5e-3,
        "logging_steps": 2,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
        "seed": 3,
    }
    heard = Heard()
    arguments = TrainingArguments(output_dir=str(folder), **{**settings, **changes})
    given = {"processing_class": make_tokenizer(), "data_collator": default_data_collator, "callbacks": [heard]}
    return Trainer(model, arguments, train_dataset=Rows(), **given), heard


def losses(heard: Heard) -> list[tuple[int, float]]:
    return [(step, logs["loss"]) for step, logs in heard.logs if "loss" in logs]


@pytest.mark.parametrize("adapter", [True, False])
def test_training_is_the_same_to_the_bit_and_every_step_is_measured(adapter: bool, finished, tmp_path: Path) -> None:
    alone, without = make_trainer(tmp_path / "alone", adapter)
    alone.train()
    trainer, heard = make_trainer(tmp_path / "watched", adapter)
    before = mossa.represent(trainer.model, make_tokenizer(), PROMPTS)
    control = finished[0] / "runs/small/units/train/control-first-seed0/adapter"
    watch = LayerwiseCallback(trainer, PROMPTS, {"array": before, "first": control}, every=3)
    trainer.add_callback(watch)
    trainer.train()
    assert losses(heard) == losses(without) and [step for step, _ in losses(heard)] == [2, 4, 6]
    after = trainer.model.state_dict()
    assert all(torch.equal(each, after[name]) for name, each in alone.model.state_dict().items())
    assert alone.model.state_dict().keys() == after.keys()

    history = watch.history
    assert not history.duplicated(["step", "reference", "layer"]).any()
    assert list(history["step"].unique()) == [0, 3, 6, STEPS] and set(history["layer"]) == {1, 2, 3}
    assert set(history["reference"]) == {"base", "array", "first"} and len(history) == 4 * 3 * 3
    of_base, of_array = (history[history["reference"] == name].reset_index(drop=True) for name in ("base", "array"))
    pd.testing.assert_series_equal(of_base["value"], of_array["value"])  # what was taken is what was there
    assert of_base.loc[of_base["step"] == 0, "value"].to_numpy() == pytest.approx(1)
    assert of_base.loc[of_base["step"] == STEPS, "value"].max() < 0.9999 and (history["standard_error"] >= 0).all()
    now = mossa.represent(trainer.model, make_tokenizer(), PROMPTS)
    last = of_base[of_base["step"] == STEPS]["value"].to_numpy()
    assert last == pytest.approx(mossa.cka(now, before, debiased=True).value.numpy(), rel=1e-9)

    logged = {step: logs for step, logs in heard.logs if "similarity_first/layer_03" in logs}
    assert list(logged) == [0, 3, 6, STEPS]
    row = history[(history["step"] == 6) & (history["reference"] == "first") & (history["layer"] == 3)].iloc[0]
    assert logged[6]["similarity_first/layer_03"] == row["value"]
    assert sum("similarity_base/layer_01" in row for row in trainer.state.log_history) == 4


def test_a_control_is_the_adapter_as_a_study_sees_it(finished, settings: dict, tmp_path: Path) -> None:
    """The similarity of the base to a control before training is that of the study, on the same prompts."""
    folder = finished[0] / "runs/small"
    study = mossa.Results.load(folder)
    prompts = [example.prompt for example in next(t for t in _tasks(settings) if t.name == "first").test]
    trainer, _ = make_trainer(tmp_path, True, max_steps=1)
    watch = LayerwiseCallback(trainer, prompts, {"own": folder / "units/train/control-first-seed0/adapter"})
    trainer.add_callback(watch)
    trainer.train()
    rows = study.similarity
    rows = rows[(rows["experimental"] == "pretrained") & (rows["reference"] == "control-first-seed0")]
    rows = rows[(rows["task"] == "first") & (rows["estimator"] == "cka-linear-debiased")].set_index("layer")["value"]
    start = watch.history.query("step == 0 and reference == 'own'").set_index("layer")["value"]
    assert start.to_dict() == pytest.approx(rows.to_dict(), rel=1e-5)


def _tasks(settings: dict) -> list:
    from mossa.tasks.collections import load_tasks

    return load_tasks(mossa.Study.load(settings).settings.tasks)


def test_stopping_early_is_measured_too(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            control.should_training_stop = state.global_step == 2

    trainer, heard = make_trainer(tmp_path, True)
    watch = LayerwiseCallback(trainer, PROMPTS, every=5)
    trainer.add_callback(watch)
    trainer.add_callback(Stop())
    trainer.train()
    assert list(watch.history["step"].unique()) == [0, 2]
    assert not any(step == 2 and "similarity_base/layer_01" in logs for step, logs in heard.logs)


def test_training_that_goes_on_needs_the_base(tmp_path: Path) -> None:
    first, _ = make_trainer(tmp_path, False, max_steps=2, save_strategy="steps", save_steps=2)
    base = mossa.represent(first.model, make_tokenizer(), PROMPTS)
    first.train()
    again, _ = make_trainer(tmp_path, False, max_steps=4)
    again.add_callback(LayerwiseCallback(again, PROMPTS, every=2))
    with pytest.raises(MossaError, match="goes on from step 2, so the base is no longer in memory"):
        again.train(resume_from_checkpoint=True)
    again, _ = make_trainer(tmp_path, False, max_steps=4)
    watch = LayerwiseCallback(again, PROMPTS, every=2, base=base)
    again.add_callback(watch)
    again.train(resume_from_checkpoint=True)
    assert list(watch.history["step"].unique()) == [2, 4] and watch.history["value"].max() < 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"every": 0}, "every is 0"),
        ({"controls": {"base": torch.zeros(12, 3, 32)}}, "which has a meaning here"),
        ({"estimator": "cka"}, "There is no estimator 'cka'"),
        ({"prompts": ["one " * 200]}, "Set prompt.too_long"),
        ({"controls": {"short": torch.rand(5, 3, 32)}}, "n = 12 prompts and the control 5"),
        ({"controls": {"nowhere": "./nowhere"}}, "./nowhere is not a folder"),
    ],
)
def test_what_cannot_be_watched_is_said_before_the_first_step(change: dict, sentence: str, tmp_path: Path) -> None:
    trainer, heard = make_trainer(tmp_path, True)
    with pytest.raises(MossaError) as raised:
        trainer.add_callback(LayerwiseCallback(**{"trainer": trainer, "prompts": PROMPTS, **change}))
        trainer.train()
    assert sentence in str(raised.value) and trainer.state.global_step == 0 and not losses(heard)
