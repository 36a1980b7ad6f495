"""Two models compared without a study: the numbers of the study, of adapters and checkpoints alike."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mossa.tasks.split import Limits
from tests.run.command import mossa, tables
from tests.tasks.reading import load_folder


@pytest.fixture
def prompts(settings: dict, tmp_path: Path) -> Path:
    task = load_folder(Path(settings["tasks"]["source"]), Limits(48, 8, 24), 0, ["first"])[0]
    lines = [json.dumps({"inputs": example.prompt}) for example in task.test]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    return tmp_path / "prompts.jsonl"


def test_a_pair_has_the_numbers_of_the_study(finished, settings: dict, prompts: Path, tmp_path: Path) -> None:
    trained = finished[0] / "runs/small/units/train"
    model = AutoModelForCausalLM.from_pretrained(settings["base"]["model"], dtype=torch.float32)
    control = PeftModel.from_pretrained(model, str(trained / "control-first-seed0/adapter"))
    control.merge_and_unload().save_pretrained(tmp_path / "merged")
    own = tables(finished[0])
    own = {name: table[table["task"] == "first"] for name, table in own.items() if name in ("similarity", "difference")}
    for given, tolerance in ((trained / "control-first-seed0/adapter", 1e-7), (tmp_path / "merged", 1e-3)):
        ran = mossa(
            tmp_path,
            *("compare", "--base", settings["base"]["model"], "--experimental", str(trained / "sft/adapter")),
            *("--control", str(given), "--prompts", str(prompts), "--output", "pair.csv"),
        )
        assert ran.code == 0, ran.output
        found = pd.read_csv(tmp_path / "pair.csv").set_index(["layer", "estimator"])
        assert len(found) == 6 and set(found["n"]) == {24}
        for name, model_name in (("base", "pretrained"), ("experimental", "sft")):
            rows = own["similarity"]
            rows = rows[(rows["reference"] == "control-first-seed0") & (rows["experimental"] == model_name)]
            rows = rows.set_index(["layer", "estimator"]).loc[found.index]
            for mine, theirs in ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high")):
                assert (found[mine] - rows[theirs]).abs().max() < tolerance, mine
        rows = own["difference"][own["difference"]["experimental"] == "sft"].set_index(["layer", "estimator"])
        assert (found["difference"] - rows["difference"]).abs().max() < 2 * tolerance
        shown = re.findall(r"^ +1 +(\S+) \[", ran.output, re.M)
        assert [float(value) for value in shown] == found.loc[1, "base"].round(3).tolist()


def test_a_change_that_bfloat16_rounds_away_has_no_value(
    finished, settings: dict, prompts: Path, tmp_path: Path
) -> None:
    """As in a study. In float32 the same models have one, which shows that only rounding takes it away."""
    from mossa.api.compare import compare

    small = {}
    for name in ("sft", "control-first-seed0"):
        small[name] = tmp_path / name
        shutil.copytree(finished[0] / "runs/small/units/train" / name / "adapter", small[name])
        weights = load_file(small[name] / "adapter_model.safetensors")
        for key in weights:
            if "lora_B" in key:
                weights[key] *= 1e-3 / weights[key].norm()
        save_file(weights, small[name] / "adapter_model.safetensors")
    found = {
        dtype: compare(
            settings["base"]["model"],
            small["sft"],
            small["control-first-seed0"],
            prompts,
            dtype=dtype,  # pyright: ignore[reportArgumentType]
            estimators="shift-cka-linear",
            device="cpu",
        ).table
        for dtype in ("float32", "bfloat16")
    }
    assert found["float32"]["experimental"].notna().all()
    assert found["float32"]["base"].isna().all() and found["float32"]["difference"].isna().all()
    assert set(found["float32"]["reason"]) == {"pretrained: nothing changed from the origin"}
    assert found["bfloat16"]["experimental"].isna().all()
    assert found["bfloat16"]["reason"].str.contains("within bfloat16's rounding here; take float32 as dtype").all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--control": "./nowhere"}, "--control: ./nowhere is not a folder"),
        ({"--control": "nobody/nothing"}, "--control: nobody/nothing cannot be loaded"),
        (
            {"--template": "no place"},
            "template: this is none of auto, chat, plain, llama2, and does not hold {prompt} exactly once",
        ),
        ({"--cutoff": "3"}, "cutoff: Input should be greater than or equal to 8 (here: 3)"),
        ({"--cutoff": "8", "--template": "a a a a {prompt}"}, "0 of 24 prompts fit the model"),
        ({"--estimator": "cka"}, "There is no estimator 'cka'"),
        ({"--output": "pair.xlsx"}, "ends in .csv or .json"),
        ({"--prompts": "nowhere.jsonl"}, "nowhere.jsonl cannot be read"),
        ({"--device": "cuda:99"}, "--device cuda:99"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    finished, settings: dict, prompts: Path, tmp_path: Path, change: dict, sentence: str, capsys
) -> None:
    from mossa.cli import main

    adapter = str(finished[0] / "runs/small/units/train/sft/adapter")
    given = {"--base": settings["base"]["model"], "--experimental": adapter, "--control": adapter}
    words = [word for pair in ({**given, "--prompts": str(prompts)} | change).items() for word in pair]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.chdir(tmp_path)
        patch.setattr("sys.argv", ["mossa", "compare", *words])
        main()
    said = capsys.readouterr()
    assert stopped.value.code == 2 and sentence in said.err, said.err
    assert len(said.err.splitlines()) == 1


def test_an_adapter_or_checkpoint_of_another_base_is_refused(
    finished, base_folder, prompts: Path, settings: dict, tmp_path: Path
) -> None:
    from mossa.api.compare import compare
    from mossa.errors import ModelError
    from tests.small import make_model

    adapter = str(finished[0] / "runs/small/units/train/sft/adapter")
    with pytest.raises(ModelError, match=r"is not for this base|has no place on this base"):
        compare(base_folder("gpt2"), adapter, adapter, prompts, estimators=["cka-linear"], device="cpu")
    longer = make_model("llama").config
    longer.num_hidden_layers, longer.layer_types = 4, None
    AutoModelForCausalLM.from_config(longer).save_pretrained(tmp_path / "longer")
    with pytest.raises(ModelError, match="longer has 4 layers, the base 3"):
        compare(
            settings["base"]["model"], tmp_path / "longer", adapter, prompts, estimators=["cka-linear"], device="cpu"
        )
