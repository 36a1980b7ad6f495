"""The bases: built from nothing, shipped whole, loaded with a check, and really holding what was planted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.tinyflan.build import RECIPES, build, main
from experiments.tinyflan.muon import orthogonalize
from experiments.tinyflan.pretraining import Recipe
from experiments.tinyflan.tokenizer import build_tokenizer
from experiments.tinyflan.verification import Verified, answer, verify_planting
from mossa.errors import ModelError
from mossa.tasks.tinyflan import task_names
from mossa.tinyflan import BASES, base_folder, taught_tasks
from mossa.tinyflan.bases import MANIFEST, SHIPPED, read_manifest

SHORT = Recipe(tokens=12_000)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the base `a` after a very short training."""
    folder = tmp_path_factory.mktemp("bases")
    build("a", folder, SHORT, n=2)
    return folder


def test_a_shortened_build_can_be_loaded_and_has_learned_something(built: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(base_folder("a", built))
    assert model.dtype == torch.float32
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base_folder("a", built))
    ids = torch.tensor([tokenizer("list: red, tom. again: red, tom.")["input_ids"]])
    untrained = torch.log(torch.tensor(float(len(tokenizer))))
    assert model(ids, labels=ids).loss < untrained


def test_the_same_build_twice_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    build("a", tmp_path, SHORT, n=2)
    assert read_manifest(tmp_path)["a"]["files"] == read_manifest(built)["a"]["files"]


def test_the_command_builds_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["random", "--folder", str(tmp_path)])
    assert "random:" in capsys.readouterr().out
    assert base_folder("random", tmp_path).is_dir()


def test_the_command_refuses_an_unknown_base(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["c"])
    assert "there is no base 'c'; the choices are a, b, all, random" in capsys.readouterr().err


def test_a_damaged_or_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    build("random", tmp_path, SHORT, n=2)
    weights = tmp_path / "random" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: this file of the base 'random' is damaged"):
        base_folder("random", tmp_path)
    weights.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: this file of the base 'random' is missing"):
        base_folder("random", tmp_path)


def test_a_damaged_list_a_base_not_built_and_an_unknown_one_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the base 'a' has not been built\. Install mossa again, or rebuild"):
        base_folder("a", tmp_path)
    with pytest.raises(ModelError, match=r"no base 'al'\. Did you mean 'all'"):
        base_folder("al")
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="the list of the bases is damaged"):
        base_folder("a", tmp_path)


COME_ALONG = sorted(read_manifest(SHIPPED))


def test_the_bases_that_come_along_are_at_most_16_mb() -> None:
    assert {"a", "random"} <= set(COME_ALONG) <= set(BASES)
    weights = [base_folder(base) / "model.safetensors" for base in COME_ALONG]
    assert sum(path.stat().st_size for path in weights) <= 16_000_000


@pytest.mark.parametrize("base", COME_ALONG)
def test_shipped_bases_are_of_the_promised_size_and_their_tokenizer_is_the_present_one(base: str) -> None:
    tensors = load_file(base_folder(base) / "model.safetensors")
    assert 1_000_000 <= sum(tensor.numel() for tensor in tensors.values()) <= 3_000_000
    settings = json.loads((base_folder(base) / "config.json").read_text())
    assert 8 <= settings["num_hidden_layers"] <= 12
    shipped = PreTrainedTokenizerFast.from_pretrained(base_folder(base))
    assert shipped.get_vocab() == build_tokenizer().get_vocab()


@pytest.mark.parametrize("base", COME_ALONG)
def test_the_planting_holds_in_the_shipped_bases(base: str) -> None:
    results = verify_planting(base, n=40, seed=1)
    assert [row.task for row in results] == task_names()
    assert {row.task for row in results if row.planted} == set(taught_tasks(base))
    assert [row for row in results if not row.holds] == []


def test_shipped_bases_were_built_by_the_command_as_it_is() -> None:
    manifest = read_manifest(SHIPPED)
    assert {base: manifest[base]["recipe"] for base in COME_ALONG} == {
        base: asdict(RECIPES.get(base, Recipe())) for base in COME_ALONG
    }


@pytest.mark.parametrize(
    ("planted_here", "accuracy", "probability", "holds"),
    [
        (True, 0.91, 0.9, True),
        (True, 0.9, 0.9, False),
        (False, 0.6, 0.5, True),
        (False, 0.6, 0.56, False),
        (False, 0.95, 0.5, False),
        (False, 0.1, 0.1, True),
    ],
)
def test_a_planting_holds_above_nine_tenths_and_fails_away_from_chance(
    planted_here: bool, accuracy: float, probability: float, holds: bool
) -> None:
    row = Verified("films", planted_here, accuracy, probability, chance=0.5, words=16, n=100)
    assert row.holds is holds


def test_answers_agree_with_one_example_at_a_time(built: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(built / "a")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(built / "a")
    prompts = ["tom sits at the park. answer:", "list: red, blue. again:", "answer:"]
    targets = ["red", "red, blue.", "how to make cake"]
    alone: list[tuple[bool, float]] = []
    for prompt, target in zip(prompts, targets, strict=True):
        ids = tokenizer(prompt)["input_ids"]
        tail = [*tokenizer(target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        right, probability = True, 1.0
        for token in tail:
            with torch.inference_mode():
                chances = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
            right = right and int(chances.argmax()) == token
            probability *= chances[token].item()
            ids = [*ids, token]
        alone.append((right, probability))
    for (right, probability), expected in zip(answer(model, tokenizer, prompts, targets), alone, strict=True):
        assert right == expected[0]
        assert probability == pytest.approx(expected[1], rel=1e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 20, 6), (2, 6, 20)])
def test_orthogonalize_keeps_singular_vectors_and_brings_singular_values_near_one(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(*shape, generator=generator, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    spectrum = u.mT @ orthogonalize(matrices) @ v.mT
    diagonal = torch.diagonal(spectrum, dim1=-2, dim2=-1)
    assert torch.allclose(spectrum, torch.diag_embed(diagonal), atol=1e-9)
    assert ((diagonal > 0.3) & (diagonal < 1.3)).all()


def test_importing_the_collection_imports_no_torch() -> None:
    code = "import sys, mossa.tinyflan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
