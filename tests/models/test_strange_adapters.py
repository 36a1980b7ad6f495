"""Adapters from elsewhere: honoured exactly or refused with a sentence, and the base is never changed by one."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mossa.errors import ModelError, ModelNote
from mossa.models.adapters import loaded_adapter, new_adapter, save_adapter
from mossa.models.base import LoadedBase, load_base
from mossa.study.recipe import Lora
from mossa.study.schema import Base
from tests.strange import as_json, nasty, tries

TOKENS = torch.tensor([[1, 5, 9, 11, 30, 42]])


@pytest.fixture(scope="module")
def base(base_folder: Callable[[str], Path]) -> LoadedBase:
    return load_base(Base(model=str(base_folder("llama"))))


@pytest.fixture(scope="module")
def good(base: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "adapter"
    with new_adapter(base, Lora(rank=2), seed=0) as adapted:
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
        save_adapter(adapted, folder)
    return folder


@pytest.fixture
def copied(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "adapter"))


@pytest.fixture(autouse=True)
def base_stays_as_it_was(base: LoadedBase) -> Iterator[None]:
    before = mark(base)
    yield
    assert mark(base) == before


def mark(base: LoadedBase) -> Any:
    """Return what is known of the base: its modules, its weights, and what it answers."""
    modules = [(name, type(module).__name__, module.training) for name, module in base.model.named_modules()]
    weights = [(n, float(p.double().sum()), p.requires_grad) for n, p in base.model.named_parameters()]
    with torch.no_grad():
        return modules, weights, base.model(TOKENS).logits.tolist(), hasattr(base.model, "peft_config")


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


KINDS: dict[str, Any] = {
    "dora": lambda: peft.LoraConfig(r=3, use_dora=True, target_modules=["q_proj", "down_proj"]),
    "rslora": lambda: peft.LoraConfig(r=3, use_rslora=True, target_modules="all-linear"),
    "some layers": lambda: peft.LoraConfig(r=3, target_modules=["v_proj"], layers_to_transform=[1], rank_pattern={}),
    "with a trained head": lambda: peft.LoraConfig(r=3, target_modules=["v_proj"], modules_to_save=["norm"]),
    "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "loha": lambda: peft.LoHaConfig(r=3, target_modules=["q_proj", "v_proj"]),
    "lokr": lambda: peft.LoKrConfig(r=3, target_modules=["q_proj", "v_proj"]),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_peft_saved_computes_what_peft_computes(base: LoadedBase, tmp_path: Path, kind: str) -> None:
    settings = Base(model=str(base.model.config._name_or_path))
    theirs = peft.get_peft_model(load_base(settings).model, KINDS[kind]())
    random = torch.Generator().manual_seed(2)
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=random)
    theirs.eval().save_pretrained(str(tmp_path / "saved"))
    with torch.no_grad(), loaded_adapter(base, tmp_path / "saved") as ours:
        assert torch.equal(ours(TOKENS).logits, theirs(TOKENS).logits)
        assert not torch.allclose(ours(TOKENS).logits, torch.tensor(mark(load_of(base))[2]), atol=1e-3)


def load_of(base: LoadedBase) -> LoadedBase:
    return load_base(Base(model=str(base.model.config._name_or_path)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bias": "all"}, "bias is 'all', which cannot be honoured"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights.* is 'pissa', which cannot be honoured"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "'layer_replication' is .*cannot be honoured"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "megatron_co.*cannot be honoured"),
        ({"alora_invocation_tokens": [3]}, "'alora_invocation_tokens' is .*cannot be honoured"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS', which cannot be honoured"),
        ({"gates_of_tomorrow": True}, "'gates_of_tomorrow' is True, which this version of PEFT does not know"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type is 'PROMPT_TUNING'; the choices are LORA, IA3"),
        ({"peft_type": "OSF"}, "peft_type is 'OSF'; the choices are"),
        ({"r": 2**31}, "asks for rank 2147483648, and no LoRA tensor has more than"),
        ({"r": 3}, "is not for this base: .* have another shape"),
        ({"target_modules": "(("}, "has no place on this base"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan, which cannot be honoured"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_how_to_fix_it(
    base: LoadedBase, copied: Path, settings: dict[str, Any], said: str
) -> None:
    change(copied, **settings)
    with pytest.raises(ModelError, match=said) as refused, loaded_adapter(base, copied):
        pass
    assert "\n" not in str(refused.value)


PEFT_WARNS = "ignore:::peft"  # and goes on, which is all that is asked here
CONFIG_KEYS = sorted(peft.LoraConfig().to_dict())


@pytest.mark.filterwarnings(PEFT_WARNS)
@tries(400)
@given(
    settings=st.dictionaries(st.sampled_from(CONFIG_KEYS) | st.text(max_size=8), nasty, max_size=2),
    raw=st.none() | st.binary(max_size=60) | nasty.map(as_json),
)
def test_no_configuration_makes_the_loader_fall_over(
    base: LoadedBase, good: Path, settings: dict[str, Any], raw: bytes | None
) -> None:
    folder = shutil.copytree(good, good.parent / "strange", dirs_exist_ok=True)
    written = json.loads((good / "adapter_config.json").read_text()) | settings
    (folder / "adapter_config.json").write_bytes(as_json(written) if settings or raw is None else raw)
    attach(base, folder)


@pytest.mark.filterwarnings(PEFT_WARNS)
@tries(400)
@given(
    cut=st.none() | st.integers(0, 5000),
    flips=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), max_size=3),
    renamed=st.none() | st.tuples(st.integers(0, 11), st.text(max_size=10)),
    reshaped=st.none() | st.tuples(st.integers(0, 11), st.lists(st.integers(0, 40), max_size=3)),
)
def test_no_weights_make_the_loader_fall_over(
    base: LoadedBase,
    good: Path,
    cut: int | None,
    flips: list[tuple[int, int]],
    renamed: tuple[int, str] | None,
    reshaped: tuple[int, list[int]] | None,
) -> None:
    folder = shutil.copytree(good, good.parent / "strange", dirs_exist_ok=True)
    weights = load_file(good / "adapter_model.safetensors")
    names = sorted(weights)
    if reshaped:
        weights[names[reshaped[0] % len(names)]] = torch.zeros(reshaped[1])
    if renamed:
        name = names[renamed[0] % len(names)]
        weights[renamed[1].encode("utf-8", "replace").decode()] = weights.pop(name)
    path = folder / "adapter_model.safetensors"
    save_file(weights, path)
    data = bytearray(path.read_bytes()[:cut])
    for place, bits in flips:
        if data:
            data[place % len(data)] ^= bits
    path.write_bytes(bytes(data))
    attach(base, folder)


def attach(base: LoadedBase, folder: Path) -> None:
    """Load the adapter: it computes something, or is refused with a sentence; either way the base is as it was."""
    before = mark(base)
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", ModelNote)  # before the load, which may note another base
            with loaded_adapter(base, folder) as adapted, torch.no_grad():
                assert adapted(TOKENS).logits.shape == (1, TOKENS.shape[1], 96)
        assert all(20 < len(str(note.message)) < 1000 for note in noted)
    except ModelError as refused:
        assert 20 < len(str(refused)) < 1000
    assert mark(base) == before
