"""Every feature of an adapter that the installed PEFT has: equal to PEFT on both sides of every switch, or refused."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from mossa.errors import ModelError
from mossa.models.adapter_config import KINDS
from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase, load_base
from mossa.models.fused_lora import FusedLoraLinear, combine
from mossa.representations import check_alone, represent_tokens
from mossa.representations.represent import evaluation_mode
from mossa.study.schema import Base
from tests.small import hidden_states, make_model

pytestmark = pytest.mark.filterwarnings("ignore:::peft", "ignore::FutureWarning")
ALL = ["q_proj", "v_proj", "down_proj"]
# What loads and must compute what PEFT computes. The base is 32 wide: q_proj combines from 16 rows on.
EQUAL: dict[str, dict[str, Any]] = {
    "r": {"r": 5},
    "lora_alpha": {"lora_alpha": 3.5},
    "lora_dropout": {"lora_dropout": 0.4},
    "target_modules": {"target_modules": r".*\.1\..*(q_proj|up_proj)"},
    "exclude_modules": {"exclude_modules": ["model.layers.1.self_attn.q_proj"]},
    "use_rslora": {"use_rslora": True},
    "use_dora": {"use_dora": True},
    "lora_bias": {"lora_bias": True},
    "modules_to_save": {"modules_to_save": ["norm"]},
    "init_lora_weights": {"init_lora_weights": "gaussian"},
    "layers_to_transform": {"layers_to_transform": [0, 2]},
    "layers_pattern": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "rank_pattern": {"rank_pattern": {"q_proj": 7, "down_proj": 1}},
    "alpha_pattern": {"alpha_pattern": {"v_proj": 30}},
    "target_parameters": {"target_parameters": None},
    "ensure_weight_tying": {"ensure_weight_tying": False},
    "fan_in_fan_out": {"fan_in_fan_out": False},
    "lora_bias and dropout": {"lora_bias": True, "lora_dropout": 0.4, "use_rslora": True},
    "dora and patterns": {"use_dora": True, "rank_pattern": {"q_proj": 7}, "alpha_pattern": {"v_proj": 30}},
}
# What changes the base, needs its own loop, or computes something that is not an adapter's alone
REFUSED: dict[str, Any] = {
    "bias": "lora_only",
    "megatron_config": {"a": 1},
    "megatron_core": "os",
    "trainable_token_indices": [3],
    "loftq_config": {"loftq_bits": 4},
    "corda_config": {"corda_method": "ipm"},
    "lora_ga_config": {"direction": "random"},
    "velora_config": {"num_groups": 2},
    "alora_invocation_tokens": [3],
    "use_qalora": True,
    "qalora_group_size": 8,
    "monteclora_config": {"num_samples": 2},
    "layer_replication": [[0, 2], [1, 3]],
    "arrow_config": {"top_k": 1},
    "use_bdlora": {"nblocks": 2},
    "kasa_config": {"beta": 1.0},
}
# How it was made or where it came from; what it became is in its weights
ABOUT = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "runtime_config", "eva_config"),
}


@pytest.fixture(scope="module")
def base(base_folder: Any) -> LoadedBase:
    return load_base(Base(model=str(base_folder("llama"))))


def moved(model: Any, seed: int = 2) -> Any:
    """Return a model of PEFT whose every trained tensor has been moved away from where it began."""
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += (0.3 * torch.randn(parameter.shape, generator=random)).to(parameter.dtype)
    return model.eval()


def tokens(count: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 60, (count,), generator=torch.Generator().manual_seed(seed + count)).tolist()


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


def test_every_setting_of_an_adapter_is_looked_at() -> None:
    known = {name for name in EQUAL if " and " not in name} | REFUSED.keys() | ABOUT
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} == known


@pytest.mark.parametrize("feature", EQUAL)
def test_a_feature_computes_what_peft_computes(base: LoadedBase, tmp_path: Path, feature: str) -> None:
    config = peft.LoraConfig(**{"r": 3, "target_modules": ALL, "task_type": "CAUSAL_LM", **EQUAL[feature]})
    theirs = moved(peft.get_peft_model(load_base(Base(model=base.model.config._name_or_path)).model, config))
    theirs.save_pretrained(str(tmp_path))
    prompts = [tokens(length) for length in (2, 15, 16, 17, 40)]
    beginning = tokens(36, seed=9)
    with torch.no_grad(), loaded_adapter(base, tmp_path) as ours:
        for prompt in prompts:
            given = torch.tensor([prompt])
            torch.testing.assert_close(ours(given).logits, theirs(given).logits, rtol=1e-4, atol=1e-4)
        for each in (prompts, [beginning + prompt for prompt in prompts]):
            expected = hidden_states(theirs, each)
            for budget in (1, 64, 1000):
                assert error(represent_tokens(ours, each, token_budget=budget), expected) < 1e-5
            check_alone(ours, each, expected)


@pytest.mark.parametrize("feature", REFUSED)
def test_other_features_are_refused(base: LoadedBase, tmp_path: Path, feature: str) -> None:
    import json

    model = load_base(Base(model=base.model.config._name_or_path)).model
    peft.get_peft_model(model, peft.LoraConfig(r=3, target_modules=ALL)).save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {feature: REFUSED[feature]}))
    with pytest.raises(ModelError, match="cannot be honoured"), loaded_adapter(base, tmp_path):
        pass


@pytest.mark.parametrize("kind", sorted(set(map(str.upper, peft.PeftType.__members__)) - set(KINDS)))
def test_other_kinds_are_refused(base: LoadedBase, tmp_path: Path, kind: str) -> None:
    model = load_base(Base(model=base.model.config._name_or_path)).model
    peft.get_peft_model(model, peft.LoraConfig(r=3, target_modules=ALL)).save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text().replace('"LORA"', f'"{kind}"'))
    with pytest.raises(ModelError, match="peft_type is"), loaded_adapter(base, tmp_path):
        pass


def layer(**config: Any) -> Any:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"one": torch.nn.Linear(8, 8)})
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["one"], **config), model)
    return moved(model)


def with_another(model: Any) -> None:
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, target_modules=["one"]), model, adapter_name="other")
    model["one"].set_adapter(["default", "other"])
    moved(model)


def with_hook_on_a(model: Any) -> None:
    model["one"].lora_A["default"].register_forward_hook(lambda _module, _inputs, output: 2 * output)


def with_other_forward(model: Any) -> None:
    part = model["one"].lora_B["default"]
    part.forward = lambda x: 3 * type(part).forward(part, x)


def with_a_trained_base(model: Any) -> None:
    model["one"].base_layer.requires_grad_(True)


CHANGES = {
    "merged": lambda model: model["one"].merge(),
    "disabled": lambda model: model["one"].enable_adapters(False),
    "another adapter": with_another,
    "another one active": lambda model: (with_another(model), model["one"].set_adapter("other")),
    "scaled": lambda model: model["one"].set_scale("default", 0.3),
    "hook": with_hook_on_a,
    "forward": with_other_forward,
    "trained base": with_a_trained_base,
    "dropout at work": lambda model: model.train(),
}


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 50])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_after_combining_is_seen(change: str, rows: int) -> None:
    found = []
    for ours in (False, True):
        model = layer(lora_dropout=0.5 if change == "dropout at work" else 0.0)
        if ours:
            combine(model)
            assert type(model["one"]) is FusedLoraLinear
        CHANGES[change](model)
        x = torch.randn(1, rows, 8, generator=torch.Generator().manual_seed(rows)).requires_grad_()
        torch.manual_seed(1)
        result = model["one"](x)
        result.square().sum().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        found.append([result.detach(), x.grad, *gradients])
    assert len(found[0]) == len(found[1])
    for expected, given in zip(*found, strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 50])
def test_under_autocast_a_layer_is_pefts(rows: int) -> None:
    peft_layer, ours = layer(), layer()
    combine(ours)
    x = torch.randn(1, rows, 8, generator=torch.Generator().manual_seed(rows))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours["one"](x), peft_layer["one"](x))


SETTINGS: dict[str, dict[str, Any]] = {
    "ADALORA": {"total_step": 10, "init_r": 3, "target_r": 2},
    "OFT": {"oft_block_size": 4, "r": 0},
    "BOFT": {"boft_block_size": 4},
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [5, 9, 11]},
    "LORA": {"alora_invocation_tokens": [7]},
    "FOURIERFT": {"n_frequency": 20},
    "PROMPT_TUNING": {"num_virtual_tokens": 3},
    "P_TUNING": {"num_virtual_tokens": 3},
    "PREFIX_TUNING": {"num_virtual_tokens": 3},
}


def test_a_model_with_any_adapter_that_somebody_holds_is_represented_exactly_or_refused() -> None:
    equal, refused, not_made = [], [], []
    beginning = tokens(36, seed=9)
    prompts = [tokens(length) for length in (4, 15, 17, 30)]
    for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        name = str(kind.value)
        names = {field.name for field in dataclasses.fields(config)}
        given: dict[str, Any] = {"task_type": "CAUSAL_LM"} | SETTINGS.get(name, {})
        if "target_modules" in names:
            given = {"target_modules": ["q_proj", "v_proj"]} | given
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = moved(peft.get_peft_model(make_model("llama"), config(**given)))
                model(input_ids=torch.tensor([prompts[0]]))
        except Exception as error_of_peft:  # a kind that needs what a small model cannot give
            not_made.append((name, str(error_of_peft)[:60]))
            continue
        for each in (prompts, [beginning + prompt for prompt in prompts]):
            try:
                with evaluation_mode(model):
                    found = represent_tokens(model, each, token_budget=64)
                    check_alone(model, each, found)
                refused_here = False
            except ModelError:
                refused_here = True
            if not refused_here:
                with torch.no_grad():
                    assert error(found, hidden_states(model, each)) < 1e-4, name
            (refused if refused_here else equal).append(name)
    assert len(set(equal)) >= 20, (equal, refused, not_made)
    assert {"PREFIX_TUNING", "PROMPT_TUNING"} <= set(refused)
