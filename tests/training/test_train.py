"""Adapters really learn, resume exactly, are PEFT's, and leave the base as it was."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mossa.errors import ModelError, TrainingError, noting
from mossa.models.adapters import loaded_adapter, new_adapter, update_norms
from mossa.models.base import LoadedBase, load_base
from mossa.models.prompts import Encoded, make_format
from mossa.study.recipe import Budget, Lora, Recipe, Until
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from mossa.training import activations, loss
from mossa.training.evaluate import evaluate
from mossa.training.train import meets, train_adapter
from tests.small import ARCHITECTURES, examples

RECIPE = Recipe(lora=Lora(rank=8, targets="all-linear"), learning_rate=5e-3, batch_size=8, checkpoint_every=4)


def encoded(base: LoadedBase, task: str = "first", count: int = 48) -> list[Encoded]:
    form = make_format(base.tokenizer, Prompt(), base.longest)
    return form.encode([Example(e["inputs"], e["targets"]) for e in examples(task, count)], task, with_target=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_lowers_the_loss_and_peft_reads_the_adapter(
    architecture: str, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_base(Base(model=str(base_folder(architecture))))
    data = encoded(base)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    untrained = evaluate(base.model, data, base.device)
    trained = train_adapter(base, data, [], RECIPE, Budget(steps=30), 0, tmp_path / "adapter")
    assert base.model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    with loaded_adapter(base, tmp_path / "adapter") as adapted:
        found = evaluate(adapted, data, base.device)
        ours = adapted(input_ids=torch.tensor([data[0].tokens])).logits
    assert found.loss is not None and untrained.loss is not None
    assert found.loss < 0.7 * untrained.loss
    assert trained.steps == 30 and trained.update_norm > 0
    assert all(".lora_" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    elsewhere = AutoModelForCausalLM.from_pretrained(base_folder(architecture), dtype=torch.float32)
    theirs = PeftModel.from_pretrained(elsewhere, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(theirs(input_ids=torch.tensor([data[0].tokens])).logits, ours)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_interrupted_run_goes_on_exactly(base_folder: Callable[[str], Path], tmp_path: Path, dropout: float) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    data = encoded(base)
    recipe = RECIPE.model_copy(update={"lora": RECIPE.lora.model_copy(update={"dropout": dropout})})

    def stop_at(step: int) -> Callable[[int, int, float], None]:
        def on_step(done: int, _total: int, _loss: float) -> None:
            if done == step:
                raise Interrupted

        return on_step

    whole = train_adapter(base, data, [], recipe, Budget(steps=11), 5, tmp_path / "whole")
    for step in (6, 10):
        with pytest.raises(Interrupted):
            train_adapter(
                base, data, [], recipe, Budget(steps=11), 5, tmp_path / "x", tmp_path / "c", "f", stop_at(step)
            )
    steps: list[int] = []
    resumed = train_adapter(
        base,
        data,
        [],
        recipe,
        Budget(steps=11),
        5,
        tmp_path / "resumed",
        tmp_path / "c",
        "f",
        lambda k, *_: steps.append(k),
    )
    assert steps == [9, 10, 11]
    assert resumed == whole
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_used(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    data = encoded(base)

    def first_step(fingerprint: str) -> int:
        steps: list[int] = []
        train_adapter(
            base,
            data,
            [],
            RECIPE,
            Budget(steps=6),
            0,
            tmp_path / "a",
            tmp_path / "c",
            fingerprint,
            lambda k, *_: steps.append(k),
        )
        return steps[0]

    assert [first_step("one"), first_step("one"), first_step("two")] == [1, 5, 1]
    path = tmp_path / "c" / "checkpoint.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 8
    path.write_bytes(whole)
    assert first_step("two") == 1
    path.write_bytes(path.read_bytes()[:200])
    assert first_step("two") == 1


def test_training_stops_at_its_criterion_and_says_so(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    data = encoded(base)
    easy = Budget(until=Until(metric="loss", value=2.0, at_most_steps=60, check_every=2))
    trained = train_adapter(base, data[:40], data[40:], RECIPE, easy, 0, tmp_path / "a")
    assert trained.stopped_because == "criterion" and trained.steps < 60
    hard = Budget(until=Until(metric="exact_match", value=1.0, at_most_steps=4, check_every=2))
    trained = train_adapter(base, data[:40], data[40:], RECIPE, hard, 0, tmp_path / "b")
    assert trained.stopped_because == "limit" and trained.steps == 4
    with pytest.raises(TrainingError, match=r"tasks\.validation"):
        train_adapter(base, data, [], RECIPE, hard, 0, tmp_path / "c")


@pytest.mark.parametrize("metric", ["loss", "exact_match"])
def test_a_look_at_the_criterion_ends_once_its_answer_is_known(
    base_folder: Callable[[str], Path], tmp_path: Path, metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    data = encoded(base)
    train_adapter(base, data[:40], [], RECIPE, Budget(steps=10), 0, tmp_path / "adapter")
    monkeypatch.setitem(loss.TOKEN_BUDGET, "cpu", 64)  # several batches
    with loaded_adapter(base, tmp_path / "adapter") as adapted:
        whole = loss.token_losses(adapted, data, base.device)
        assert 0 < sum(whole.exact) < len(data)
        low = metric == "loss"  # the lower the better
        found = sum(whole.losses) / loss.count_targets(data) if low else sum(whole.exact) / len(data)
        passes: list[int] = []
        adapted.register_forward_hook(lambda *_: passes.append(1))
        loss.token_losses(adapted, data, base.device)
        full = len(passes)
        for value in [found, *(found + far for far in (-0.5, -0.02, -1e-9, 1e-9, 0.02, 0.5))]:
            passes.clear()
            until = Until(metric=metric, value=value, at_most_steps=1)
            met = meets(until, adapted, data, base.device)
            assert met == (found <= value if low else found >= value), value
            assert len(passes) == full if met else len(passes) <= full
        passes.clear()
        assert not meets(Until(metric=metric, value=-1 if low else 2, at_most_steps=1), adapted, data, base.device)
        assert len(passes) == 1 < full  # far away is seen after the first batch
        with torch.no_grad():
            adapted.get_output_embeddings().weight.fill_(math.nan)
        assert not meets(Until(metric="loss", value=100, at_most_steps=1), adapted, data, base.device)


def test_gradient_checkpointing_changes_nothing_and_auto_says_when_it_is_needed(
    base_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    data = encoded(base)
    notes: list[str] = []
    for name, choice, free in (("a", False, 0), ("b", True, 0), ("c", "auto", 1e12), ("d", "auto", 1000)):
        recipe = RECIPE.model_copy(update={"gradient_checkpointing": choice, "lora": Lora(dropout=0.2)})
        monkeypatch.setattr(activations, "free_memory", lambda _device, free=free: free)
        with noting(notes.append):
            train_adapter(base, data, [], recipe, Budget(steps=3), 0, tmp_path / name)
        assert len(notes) == (name == "d"), notes
    assert "auto computes activations again" in notes[0]
    expected, *others = (load_file(tmp_path / name / "adapter_model.safetensors") for name in "abcd")
    for other in others:
        for name, weight in expected.items():
            torch.testing.assert_close(other[name], weight, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_not_finite_is_a_sentence(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    wild = RECIPE.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"step \d+ of 20: the loss is .* Lower recipe\.learning_rate"):
        train_adapter(base, encoded(base), [], wild, Budget(steps=20), 0, tmp_path / "a")
    assert evaluate(base.model, encoded(base), base.device).loss is not None  # the base is usable after it


@pytest.mark.parametrize("architecture", ["llama", "mixtral"])
def test_update_norm_is_that_of_the_weight_change(
    architecture: str, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_base(Base(model=str(base_folder(architecture))))
    trained = train_adapter(base, encoded(base), [], RECIPE, Budget(steps=5), 0, tmp_path / "a")
    before = {name: tensor.double() for name, tensor in base.model.state_dict().items()}
    model = AutoModelForCausalLM.from_pretrained(base_folder(architecture), dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, str(tmp_path / "a")).merge_and_unload().state_dict()
    changed = {
        name: merged[name].double() - before[name]
        for name in before
        if not torch.equal(merged[name].double(), before[name])
    }
    norm = torch.sqrt(sum((change**2).sum() for change in changed.values()))
    weights = torch.sqrt(sum((before[name] ** 2).sum() for name in changed))
    assert trained.update_norm == pytest.approx(float(norm), rel=1e-4)
    assert trained.relative_update == pytest.approx(float(norm / weights), rel=1e-4)


def test_an_adapter_of_another_base_is_refused(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    llama, gpt2 = (load_base(Base(model=str(base_folder(name)))) for name in ("llama", "gpt2"))
    train_adapter(gpt2, encoded(gpt2), [], RECIPE, Budget(steps=1), 0, tmp_path / "gpt2")
    with pytest.raises(ModelError, match="has no place on this base"), loaded_adapter(llama, tmp_path / "gpt2"):
        pass
    with pytest.raises(ModelError, match="is not a folder"), loaded_adapter(llama, tmp_path / "nowhere"):
        pass


@pytest.mark.parametrize("how", ["shape", "missing", "extra", "truncated"])
def test_a_refused_adapter_leaves_the_base_as_it_was(
    base_folder: Callable[[str], Path], tmp_path: Path, how: str
) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    data = encoded(base)
    train_adapter(base, data, [], RECIPE, Budget(steps=2), 0, tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[3]
    if how == "shape":
        tensors[name] = torch.zeros(*(2 * size for size in tensors[name].shape))
    elif how == "missing":
        del tensors[name]
    elif how == "extra":
        tensors["base_model.model.somewhere.lora_A.weight"] = torch.zeros(2, 2)
    save_file(tensors, path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    before = evaluate(base.model, data, base.device)
    with pytest.raises(ModelError, match="adapter"), loaded_adapter(base, tmp_path / "a"):
        pass
    assert evaluate(base.model, data, base.device) == before
    assert not any("lora" in module for module, _ in base.model.named_modules())


def test_the_base_can_carry_one_adapter_after_the_other(base_folder: Callable[[str], Path]) -> None:
    base = load_base(Base(model=str(base_folder("gpt_neox"))))
    norms = []
    for _ in range(3):
        with new_adapter(base, RECIPE.lora, seed=1) as adapted:
            norms.append(update_norms(adapted))
    assert norms == [(0.0, 0.0)] * 3
    assert not any("lora" in name for name, _ in base.model.named_modules())


def test_a_program_ends_although_an_adapter_is_still_on_its_base(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    train_adapter(base, encoded(base), [], RECIPE, Budget(steps=1), 0, tmp_path / "adapter")
    program = """
import sys
from mossa.models.loader import ModelLoader
from mossa.study.schema import Base
loader = ModelLoader(Base(model=sys.argv[1]), "cpu")
loader.take("adapter", sys.argv[2])
print("ends here")
"""
    given = [sys.executable, "-c", program, str(base_folder("llama")), str(tmp_path / "adapter")]
    ended = subprocess.run(given, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and ended.stdout.strip() == "ends here", ended.stderr
