"""`mossa.locate` on models that one holds, and what it says of those that cannot be taken apart."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model

import mossa
from mossa.api.locate import locate_files
from mossa.errors import DataError, ModelError
from mossa.place.estimates import COLUMNS
from tests.place.worlds import make_adapted, make_base, make_checkpoint, make_data
from tests.small import examples, make_tokenizer

PROMPTS = [each["inputs"] for each in examples("first", 12)]
TARGETS = [each["targets"] for each in examples("first", 12)]


@pytest.fixture(scope="module")
def base() -> Any:
    return make_base()


@pytest.fixture(scope="module")
def adapted(base: Any) -> Any:
    return make_adapted(base, (3,), make_data())


def test_a_model_tuned_in_one_layer_is_pointed_at_there(base: Any, adapted: Any) -> None:
    found = mossa.locate(base, adapted, make_tokenizer(), PROMPTS, TARGETS)
    assert list(found.table.columns) == COLUMNS
    for reading in ("one-layer-change", "relative-change", "shapley", "leave-one-out"):
        rows = found.table[found.table["reading"].eq(reading)]
        assert rows.loc[rows["value"].astype(float).idxmax(), "layer"] == 3, reading
    assert found.sufficient == found.necessary == (3, 3) and found.gain > 0
    assert "Layer 3 changes most" in str(found) and "layer 3 alone gives 90 %" in found.sentence
    assert len(found.plot().axes) >= 3


def test_models_are_left_as_they_were(adapted: Any) -> None:
    adapted.train()
    before = {name: weight.clone() for name, weight in adapted.named_parameters()}
    modules = {name: id(module) for name, module in adapted.named_modules()}
    mossa.locate(None, adapted, make_tokenizer(), PROMPTS[:4], TARGETS[:4], parts=True, null=True)
    assert {name: id(module) for name, module in adapted.named_modules()} == modules
    assert all(torch.equal(weight, before[name]) for name, weight in adapted.named_parameters())
    assert adapted.training and all(not module._forward_hooks for module in adapted.modules())
    adapted.eval()


def test_the_model_that_the_adapter_was_put_on_serves_as_base(adapted: Any) -> None:
    one, other = (
        mossa.locate(given, adapted, make_tokenizer(), PROMPTS, TARGETS).table
        for given in (None, adapted.get_base_model())
    )
    assert one.equals(other)


def test_curves_are_a_graft_without_its_costly_half(adapted: Any) -> None:
    whole, curves = (
        mossa.locate(None, adapted, make_tokenizer(), PROMPTS, TARGETS, readings=[kind], window=3)
        for kind in ("graft", "curves")
    )
    costly = whole.table["reading"] == "shapley"
    assert costly.any() and whole.gain == pytest.approx(curves.gain)
    rest = whole.table[~costly].reset_index(drop=True)
    pd.testing.assert_frame_equal(curves.table, rest, check_exact=False, rtol=1e-5)
    assert curves.sufficient is None and len(curves.plot().axes) >= 1 and "Layer 3" in str(curves)


def test_without_targets_there_is_the_change_alone(adapted: Any) -> None:
    found = mossa.locate(None, adapted, make_tokenizer(), PROMPTS)
    assert found.gain is None and {reading.split(",")[0] for reading in found.table["reading"]} == {
        "one-layer-change",
        "relative-change",
        "change-interaction",
    }


def test_a_task_that_was_not_learned_has_no_graft(base: Any, adapted: Any) -> None:
    merged = copy.deepcopy(adapted).merge_and_unload()  # has learned, so what it was made of is the worse of the two
    found = mossa.locate(merged, base, make_tokenizer(), PROMPTS, TARGETS, readings=["graft"])
    assert found.table["value"].isna().all() and found.table["reason"].str.contains("no gain to share").all()
    assert found.sufficient is None and "No layer is worth most" in found.sentence


def test_an_untrained_adapter_changes_nothing(base: Any) -> None:
    fresh = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    found = mossa.locate(None, fresh, make_tokenizer(), PROMPTS, TARGETS, readings=["one-layer-change", "graft"])
    assert found.table["value"].eq(0).all() and found.table["reason"].eq("no update at this layer").all()


def test_fewer_prompts_than_a_reading_needs_give_the_reason(adapted: Any) -> None:
    found = mossa.locate(None, adapted, make_tokenizer(), PROMPTS[:3], TARGETS[:3])
    assert found.table["value"].isna().all() and found.table["reason"].eq("only 3 prompts; 4 are needed").all()


def _merged(base: Any) -> tuple[Any, Any]:
    model = make_adapted(base, (3,), make_data(4), steps=2)
    model.merge_adapter()
    return None, model


REFUSED: dict[str, tuple[Callable[[Any], tuple[Any, Any]], str]] = {
    "another number of layers": (lambda base: (base, make_base(3)), "the base has 4 layers and the tuned model 3"),
    "another architecture": (lambda base: (base, make_base(4, "gpt2")), r"outside the layers, .*: the base has"),
    "other shapes": (lambda base: (base, _wider(base)), r"layer 2, mlp\.up_proj\.weight: the base has \(48, 32\)"),
    "another format": (
        lambda base: (base, copy.deepcopy(base).float()),
        "the base is in float64, the tuned model in float32. Load both in one format",
    ),
    "a format of one layer": (
        lambda base: (base, _single(base)),
        r"layer 2, mlp\.up_proj\.weight: the base is in float64, the tuned model in bfloat16",
    ),
    "a merged adapter": (_merged, "merged into the weights. Call unmerge_adapter"),
    "no base": (lambda base: (None, base), "base is None"),
}


def _single(base: Any) -> Any:
    model = copy.deepcopy(base)
    model.model.layers[1].mlp.up_proj.to(torch.bfloat16)
    return model


def _wider(base: Any) -> Any:
    model = copy.deepcopy(base)
    model.model.layers[1].mlp.up_proj = torch.nn.Linear(32, 40, bias=False).double()
    return model


@pytest.mark.parametrize("case", REFUSED)
def test_models_that_do_not_fit_are_refused_with_the_place(case: str, base: Any) -> None:
    make, sentence = REFUSED[case]
    with pytest.raises(ModelError, match=sentence):
        mossa.locate(*make(base), make_tokenizer(), PROMPTS)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"readings": ["graf"]}, "no reading 'graf'. Did you mean 'graft'"),
        ({"readings": ["graft"], "targets": None}, "graft needs an answer to every prompt"),
        ({"window": 2}, "window is 2; give an odd number"),
        ({"targets": TARGETS[:-1]}, "targets: give a list with one text for each of the 12 prompts"),
        ({"templates": "one"}, "templates: give a list"),
        ({"prompts": []}, "prompts is empty"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(settings: dict[str, Any], sentence: str, adapted: Any) -> None:
    given = {"prompts": PROMPTS, "targets": TARGETS, **settings}
    if not given["prompts"]:
        given["targets"] = []
    with pytest.raises(DataError, match=sentence):
        mossa.locate(None, adapted, make_tokenizer(), **given)


def test_embeddings_and_head_are_layer_0_of_a_graft(base: Any) -> None:
    tuned = make_checkpoint(base, ("layers.1.", "lm_head"), make_data())
    found = mossa.locate(base, tuned, make_tokenizer(), PROMPTS, TARGETS, readings=["graft"], template="{prompt}:")
    rows = found.table[found.table["reading"].eq("shapley")]
    assert rows["layer"].tolist() == [0, 1, 2, 3, 4]
    assert rows["value"].astype(float).sum() == pytest.approx(found.gain, abs=1e-9)
    assert rows["reason"].iloc[0] == "embeddings, final norm and head"


def test_what_is_asked_for_in_python_may_be_one_thing_or_the_format_auto(
    base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = str(base_folder("llama"))
    (tmp_path / "first.jsonl").write_text("\n".join(map(json.dumps, examples("first", 8))))
    options: Any = {"readings": "one-layer-change", "dtype": "auto", "examples": 5, "device": "cpu"}
    (place,) = locate_files(base, base, tmp_path / "first.jsonl", **options).values()
    assert "one-layer-change" in set(place.table["reading"])
    same = mossa.compare(base, base, base, tmp_path / "first.jsonl", dtype=options["dtype"], device="cpu")
    assert (same.table["base"] > 0.999).all()
    with pytest.raises(DataError, match="examples is 0; give how many"):
        locate_files(base, base, tmp_path / "first.jsonl", examples=0)
