"""What `mossa plan` says of memory for bases of 7 and 8 billion weights, against arithmetic on their shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mossa.cost.memory import need
from mossa.cost.work import Work, forward_work, training_work
from mossa.models.prompts import Encoded
from mossa.models.shape import Shape, shape_of
from mossa.study.recipe import Lora, Recipe
from mossa.study.schema import Base, StudySettings
from mossa.units.unit import Unit
from tests.llama2 import CONFIG
from tests.training.test_filling import heavy_tailed

LLAMA_2_7B = {**CONFIG, "num_hidden_layers": 32, "torch_dtype": "bfloat16"}
LLAMA_3_8B = {
    **LLAMA_2_7B,
    "intermediate_size": 14_336,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "max_position_embeddings": 8192,
}
GEMMA_3_4B = {
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "hidden_size": 2560,
    "intermediate_size": 10_240,
    "num_hidden_layers": 34,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262_208,
    "torch_dtype": "bfloat16",
}
BLOCKS = {7: 32 * (4 * 4096**2 + 3 * 4096 * 11_008), 8: 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14_336)}
NORMS = 65 * 4096


def shape(config: dict[str, Any], folder: Path, **base: str) -> Shape:
    (folder / "config.json").write_text(json.dumps(config))
    settings = Base.model_validate({"model": str(folder), "dtype": "bfloat16", **base})
    return shape_of(settings, Lora(rank=8, targets=["q_proj", "v_proj"]))


def kept(width: int, inner: int, heads: int) -> int:
    """Return the bytes per token of one block: two norms and x for q and v in float32, attention, a gated MLP."""
    return 2 * 4 * width + 2 * 4 * width + 2 * (2 * width + 2 * heads) + 3 * 2 * inner


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shape]:
    folder = tmp_path_factory.mktemp("large")
    return {
        "7B": shape(LLAMA_2_7B, folder),
        "8B": shape(LLAMA_3_8B, folder),
        "8B in 4 bits": shape(LLAMA_3_8B, folder, quantise="4-bit"),
        "Gemma": shape(GEMMA_3_4B, folder),
    }


def test_weights_and_what_autograd_keeps_are_those_of_the_arithmetic(shapes: dict[str, Shape]) -> None:
    words = {"7B": 32_000 * 4096, "8B": 128_256 * 4096}
    assert shapes["7B"].weight_bytes == 2 * (BLOCKS[7] + NORMS + 2 * words["7B"]) == 2 * 6_738_415_616
    assert shapes["8B"].weight_bytes == 2 * (BLOCKS[8] + NORMS + 2 * words["8B"]) == 2 * 8_030_261_248
    quantised = 0.516 * BLOCKS[8] + 2 * (NORMS + 2 * words["8B"])  # half a byte, and a scale of 8 bits for 64 of them
    assert shapes["8B in 4 bits"].weight_bytes == pytest.approx(quantised, rel=0.001)
    assert shapes["7B"].kept_per_token == pytest.approx(32 * kept(4096, 11_008, 4096), rel=0.1)
    assert shapes["8B"].kept_per_token == pytest.approx(32 * kept(4096, 14_336, 4096), rel=0.15)
    assert shapes["7B"].adapter_weights == 32 * 2 * 2 * 8 * 4096


@pytest.mark.parametrize(
    ("name", "room", "again", "gigabytes"),
    # weights, 16 bytes per adapter weight, activations of the largest micro-batch, 16 bytes per target and word
    [("7B", 80, False, 13.5 + 0.07), ("8B", 24, True, 16.1 + 0.06), ("8B in 4 bits", 24, False, 5.7 + 0.06)],
)
def test_what_a_training_needs_is_within_a_tenth(
    name: str, room: float, again: bool, gigabytes: float, shapes: dict[str, Shape]
) -> None:
    found, recipe = shapes[name], Recipe(gradient_checkpointing="auto")
    work = training_work(heavy_tailed(320), 20, recipe, 0, found, "cuda", 1e9 * room - found.weight_bytes)
    assert work.again == again
    block = kept(4096, 11_008 if name == "7B" else 14_336, 4096)
    each = 2 * block + 32 * 2 * 4096 if again else 33 * block  # the inputs of 32 blocks, or what all of them keep
    expected = 1e9 * gigabytes + work.batch * each + 16.0 * work.batch_targets * found.vocabulary
    study = StudySettings.model_validate(
        {"name": "large", "base": {"model": "x", "dtype": "bfloat16"}, "tasks": {"source": "y"}}
    )
    units = {"train/sft": Unit("train", "sft", {})}
    planned = need(study, found, units, {"train/sft": work}, True)
    assert planned.device == pytest.approx(expected, rel=0.1) and planned.device_step == "train"
    assert planned.device_least < 1e9 * room


@pytest.mark.parametrize(("name", "words", "most"), [("8B", 128_256, 2092), ("Gemma", 262_208, 1023)])
def test_long_targets_over_many_words_take_four_gigabytes_and_no_more(
    name: str, words: int, most: int, shapes: dict[str, Shape]
) -> None:
    """Translations: 60 tokens, of which 32 are targets; 256 of them fit a micro-batch by their tokens."""
    found, recipe = shapes[name], Recipe(batch_size=256)
    assert found.vocabulary == words and most == 2**28 // words
    examples = [Encoded(range(60), 28, False, number) for number in range(512)]
    trained = training_work(examples, 2, recipe, 0, found, "cuda")
    judged = forward_work(examples, found, "cuda", adapted=True, judged=True)
    groups = {"train/sft": trained, "evaluate/sft@a": judged}
    for work in groups.values():
        assert 0.8 * most < work.batch_targets <= most and work.batch == work.batch_targets / 32 * 60
    assert 60 * 256 < 16_384
    study = StudySettings.model_validate(
        {"name": "large", "base": {"model": "x", "dtype": "bfloat16"}, "tasks": {"source": "y"}}
    )
    for unit, each in ((Unit("train", "sft", {}), 16), (Unit("evaluate", "sft@a", {}), 8)):
        work = groups[unit.id]
        planned = need(study, found, {unit.id: unit}, {unit.id: work}, True).device
        without = need(study, found, {unit.id: unit}, {unit.id: replace(work, batch_targets=0)}, True).device
        assert planned - without == pytest.approx(each * work.batch_targets * words) and planned - without < 4.3e9
        assert each * 32 * 256 * words > 8e9  # by tokens alone
    long = [Encoded(range(4000), 4000 - 3000, False, 0), *examples]
    assert training_work(long, 3, recipe, 0, found, "cuda").batch_targets == 3000  # alone in its group


def test_activations_that_are_computed_again_are_a_tenth(shapes: dict[str, Shape]) -> None:
    study = StudySettings.model_validate(
        {"name": "large", "base": {"model": "x", "dtype": "bfloat16"}, "tasks": {"source": "y"}}
    )
    units = {"train/sft": Unit("train", "sft", {})}
    found = shapes["7B"]
    sizes = [
        need(study, found, units, {"train/sft": Work(batch=16_384, again=again)}, True).device - found.weight_bytes
        for again in (False, True)
    ]
    assert sizes[0] == pytest.approx(89e9, rel=0.05) and sizes[1] == pytest.approx(0.11 * sizes[0], rel=0.1)
