"""The rehearsal: what a run would stumble over is told by validate, and before a run, in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import mossa
from mossa.errors import ModelError
from mossa.models.access import weights_are_here
from mossa.models.base import load_base
from mossa.run.rehearsal import rehearse
from mossa.store.disk import read_json
from mossa.study.schema import Base
from mossa.tasks.collections import load_tasks
from tests.run.command import mossa as command
from tests.small import make_tokenizer

LESS = [
    "tasks.only=[first, again]",
    "control.seeds=[0]",
    "experimental={pretrained: base}",
    "similarity.affinity=false",
]


def study(settings: dict[str, Any], runs: Path, *more: str) -> mossa.Study:
    return mossa.Study.load(settings, *LESS, *more, runs=runs)


def copy(folder: Path, base: Path, name: str = "copy") -> Path:
    return Path(shutil.copytree(base, folder / name))


def lose(folder: Path, lost: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_validate_rehearses_and_says_when_it_does_not(settings: dict[str, Any], tmp_path: Path) -> None:
    checked = study(settings, tmp_path).validate()
    assert checked and checked.notes == [] and checked.found[-1].startswith("rehearsal: prompts of")
    skipped = study(settings, tmp_path).validate(rehearsal=False)
    assert skipped and skipped.notes == ["rehearsal skipped: --no-rehearsal"] and "  --   rehearsal" in repr(skipped)
    wrong = mossa.validate(settings, *LESS, "similarity.estimators=[cka]")
    assert not wrong and wrong.notes == ["rehearsal skipped: there are problems"]


def test_a_base_or_a_model_that_lacks_weights_is_a_problem(settings: dict[str, Any], tmp_path: Path) -> None:
    whole = Path(settings["base"]["model"])
    lost = copy(tmp_path, whole)
    lose(lost, "model.norm.weight")
    for what in (
        f"base.model={lost}",
        f"experimental={{pretrained: base, given: {{checkpoint: {lost}}}}}",
        f"control.existing={{first: [{{checkpoint: {lost}}}]}}",
    ):
        (problem,) = study(settings, tmp_path, what).validate().problems
        assert "1 of 30 weights are in none of its files (for example model.norm.weight)" in str(problem)


def test_notes_of_loads_reach_validate_and_run_once(settings: dict[str, Any], tmp_path: Path) -> None:
    more = copy(tmp_path, Path(settings["base"]["model"]))
    weights = load_file(more / "model.safetensors")
    save_file(weights | {"score.weight": torch.zeros(2, 32)}, more / "model.safetensors", metadata={"format": "pt"})
    given = study(settings, tmp_path, f"base.model={more}")
    (told,) = given.validate().notes
    assert "1 tensors are not used (for example score.weight)" in told
    (tmp_path / "study.yaml").write_text(json.dumps(given.settings.model_dump(mode="json", exclude_none=True)))
    ran = command(tmp_path, "run", "study.yaml", "--workers", "1", "--device", "cpu", "--no-report")
    assert ran.code == 0 and ran.output.count(told) == 1
    units = tmp_path / "runs" / given.settings.name / "units"
    noted = [read_json(path).get("notes") for path in units.glob("*/*/manifest.json")]
    assert [each for each in noted if each] == [[told]]  # the unit that loaded the base
    assert "Rehearsing" in ran.output
    again = command(tmp_path, "run", "study.yaml", "--workers", "1", "--device", "cpu", "--no-report")
    assert "Nothing to do" in again.output and "Rehearsing" not in again.output


def test_a_run_rehearses_once_per_base_and_recipe(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rehearsed(*more: str, **how: Any) -> bool:
        study(settings, tmp_path, *more).run(workers=1, device="cpu", report=False, **how)
        return "Rehearsing" in capsys.readouterr().out

    few = ["recipe.budget={steps: 1}", "tasks.only=[first]", "similarity.other_controls=0"]
    assert rehearsed(*few)
    assert not rehearsed(*few, "tasks.test=20")  # other units, the same base and recipe
    assert rehearsed(*few, "recipe.lora.rank=3")
    assert not rehearsed(*few, "recipe.lora.rank=2", rehearsal=False)


def test_nothing_is_written_when_a_rehearsal_fails(settings: dict[str, Any], tmp_path: Path) -> None:
    lost = copy(tmp_path, Path(settings["base"]["model"]))
    lose(lost, "model.layers.1.mlp.up_proj.weight")
    given = study(settings, tmp_path, f"base.model={lost}")
    with pytest.raises(ModelError, match="would be random"):
        given.run(workers=1, device="cpu", progress=False)
    assert not given.folder.exists()


COMMON: dict[str, Any] = {"vocab_size": 96, "bos_token_id": 1, "eos_token_id": 2}
STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "blocks that give several streams": (
        lambda: hf.Gemma3nForCausalLM(
            hf.Gemma3nTextConfig(
                **COMMON,
                hidden_size=32,
                num_hidden_layers=5,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=96,
                vocab_size_per_layer_input=96,
                intermediate_size=[48] * 5,
                num_kv_shared_layers=0,
                layer_types=["sliding_attention"] * 4 + ["full_attention"],
                head_dim=8,
                hidden_size_per_layer_input=8,
                laurel_rank=4,
                activation_sparsity_pattern=[0.0] * 5,
            )
        ),
        "base.model: ",
    ),
    "a model that reads both ways": (
        lambda: hf.XLNetLMHeadModel(hf.XLNetConfig(**COMMON, d_model=16, n_layer=2, n_head=2, d_inner=16)),
        "base.model: ",
    ),
}


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_base_whose_layers_are_no_states_of_one_prompt_is_one_sentence(
    what: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    make, said = STRANGE[what]
    torch.manual_seed(0)
    make().save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    checked = study(settings, tmp_path, f"base.model={tmp_path / 'base'}", "recipe.lora.targets=all-linear").validate()
    (problem,) = checked.problems
    assert said in str(problem) and "\n" not in str(problem)


@pytest.mark.parametrize("leak", ["later tokens", "the batch", "the length"])
def test_what_depends_on_more_than_the_prompt_is_found(
    leak: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bent(given: Base, device: str = "cpu") -> Any:
        base = load_base(given, device)

        def bend(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            if leak == "later tokens":
                return output + 0.1 * output.mean(dim=1, keepdim=True)
            return output * (1 + 0.05 * output.shape[0 if leak == "the batch" else 1])

        base.model.get_input_embeddings().register_forward_hook(bend)
        return base

    monkeypatch.setattr("mossa.models.loader.load_base", bent)
    given = study(settings, tmp_path).settings
    with pytest.raises(
        ModelError, match=r"the base gives a prompt of \d+ tokens other states .* than alone \(by \d+%\)"
    ):
        rehearse(given, load_tasks(given.tasks), "cpu", print)


def test_whether_weights_are_here_is_known_without_loading(settings: dict[str, Any]) -> None:
    assert weights_are_here(Base(model=settings["base"]["model"]))
    assert not weights_are_here(Base(model="nobody/nothing")) and not weights_are_here(Base(model="not an id"))
