"""Adapters on embeddings and head, beside which PEFT stores the base's own: compared, and computed as PEFT does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from mossa.errors import ModelError, ModelNote
from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase, load_base
from mossa.models.prompts import make_format
from mossa.representations import represent_tokens
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from mossa.training.evaluate import evaluate
from tests.small import examples

TOKENS = torch.tensor([[1, 5, 9, 11, 30, 42] * 8])  # more rows than `fused_lora.py` needs for its own way
QUIET = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`", "ignore:Setting `save_embedding_layers`")
pytestmark = QUIET


@pytest.fixture(scope="module", params=["llama", "gemma2"])  # a head of its own, and one tied to the embeddings
def base(request: Any, base_folder: Callable[[str], Path]) -> LoadedBase:
    return load_base(Base(model=str(base_folder(request.param))))


def theirs(base: LoadedBase, targets: list[str], folder: Path, tokens: int | None = None, **more: Any) -> Any:
    """Train nothing, but give an adapter of PEFT weights that matter, and save it as PEFT does."""
    model = load_base(Base(model=str(base.model.name_or_path))).model
    if tokens:
        model.resize_token_embeddings(tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(
            model, peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM", **more)
        )
    random = torch.Generator().manual_seed(2)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=random)
    adapted.eval().save_pretrained(str(folder))
    return adapted


@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"], ["q_proj", "embed_tokens"], ["lm_head", "v_proj"]])
def test_adapters_on_embeddings_and_head_compute_what_peft_computes(
    base: LoadedBase, targets: list[str], tmp_path: Path
) -> None:
    adapted = theirs(base, targets, tmp_path)
    form = make_format(base.tokenizer, Prompt(), base.longest)
    some = form.encode([Example(e["inputs"], e["targets"]) for e in examples("first", 12)], "first", with_target=True)
    prompts = [each.tokens[: each.prompt_length] for each in some]
    with loaded_adapter(base, tmp_path) as ours, torch.no_grad():
        torch.testing.assert_close(ours(TOKENS).logits, adapted(TOKENS).logits, atol=1e-4, rtol=1e-4)
        states = represent_tokens(ours, prompts)
        torch.testing.assert_close(states, represent_tokens(adapted, prompts), atol=1e-4, rtol=1e-4)
        measured = evaluate(ours, some, base.device)
    reference = evaluate(adapted, some, base.device)
    assert measured.loss == pytest.approx(reference.loss, rel=1e-5) and measured.accuracy == reference.accuracy


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_a_stored_embedding_that_is_not_the_bases_is_refused(base: LoadedBase, tmp_path: Path) -> None:
    theirs(base, ["embed_tokens"], tmp_path)
    weights = stored(tmp_path)
    name = next(name for name in weights if name.endswith("base_layer.weight"))
    weights[name][3, 4] += 0.01
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with (
        pytest.raises(ModelError, match=f"{name} is not as this base has it.*merge_and_unload"),
        loaded_adapter(base, tmp_path),
    ):
        pass


def test_a_stored_embedding_in_fewer_bits_is_still_the_bases(base: LoadedBase, tmp_path: Path) -> None:
    theirs(base, ["embed_tokens"], tmp_path)
    coarse = {name: t.bfloat16() if name.endswith("base_layer.weight") else t for name, t in stored(tmp_path).items()}
    save_file(coarse, tmp_path / "adapter_model.safetensors")
    with loaded_adapter(base, tmp_path) as adapted:
        assert torch.isfinite(adapted(TOKENS).logits).all()


@pytest.mark.parametrize("targets", [["q_proj"], ["embed_tokens"], ["lm_head"]])
def test_an_adapter_of_a_base_with_added_tokens_is_told_so(
    base: LoadedBase, targets: list[str], tmp_path: Path
) -> None:
    theirs(base, targets, tmp_path, tokens=100)
    said = r"made for a base that embeds 100 tokens, and this one embeds 96 .*tokens were added before"
    with pytest.raises(ModelError, match=said), loaded_adapter(base, tmp_path):
        pass


def test_whole_trained_embeddings_are_used(base: LoadedBase, tmp_path: Path) -> None:
    if base.model.config.tie_word_embeddings:
        pytest.skip("PEFT itself does not keep a tied head tied to a trained copy")
    adapted = theirs(base, ["q_proj"], tmp_path, modules_to_save=["embed_tokens", "lm_head"])
    with loaded_adapter(base, tmp_path) as ours, torch.no_grad():
        torch.testing.assert_close(ours(TOKENS).logits, adapted(TOKENS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", ["lost", "extra", "shape"])
def test_tensors_that_do_not_fit_are_counted(base: LoadedBase, change: str, tmp_path: Path) -> None:
    theirs(base, ["q_proj", "embed_tokens"], tmp_path)
    weights = stored(tmp_path)
    name = next(name for name in sorted(weights) if "lora_A" in name)
    if change == "lost":
        del weights[name]
    elif change == "extra":
        weights[name.replace("q_proj", "o_proj")] = weights[name].clone()
    else:
        weights[name] = weights[name][:1].clone()
    save_file(weights, tmp_path / "adapter_model.safetensors")
    counts = {"lost": (1, 0, 0), "extra": (0, 1, 0), "shape": (0, 0, 1)}[change]
    said = "{} tensors are missing, {} have no place and {} have another shape".format(*counts)
    with pytest.raises(ModelError, match=said), loaded_adapter(base, tmp_path):
        pass


def rename_base(folder: Path, name: str) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": name}))


def test_another_base_in_the_configuration_is_told(base: LoadedBase, tmp_path: Path) -> None:
    theirs(base, ["q_proj"], tmp_path / "adapter")
    own = Path(base.model.name_or_path)
    (tmp_path / "link").symlink_to(own)
    same = [str(own), f"meta/{own.name}", f"/home/me/{own.name.upper()}/", str(tmp_path / "link"), ""]
    same.append(f"/cache/hub/models--meta--{own.name}/snapshots/{'1' * 40}")
    for name in same:  # a warning would be an error here
        rename_base(tmp_path / "adapter", name)
        with loaded_adapter(base, tmp_path / "adapter"):
            pass
    rename_base(tmp_path / "adapter", "mistralai/Mistral-7B-v0.1")
    said = r"made for the base 'mistralai/Mistral-7B-v0\.1' by its own configuration"
    with pytest.warns(ModelNote, match=said), loaded_adapter(base, tmp_path / "adapter"):
        pass
