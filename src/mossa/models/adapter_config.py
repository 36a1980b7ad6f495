"""Reads what an adapter's configuration asks for, and refuses what would change the base or cannot be honoured."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from peft import LoraConfig, PeftConfig, PeftModel, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from torch import Tensor

from mossa.errors import ModelError
from mossa.models.hub import sentences
from mossa.models.load_report import note

KINDS = ("LORA", "IA3", "LOHA", "LOKR")  # tested: they compute what PEFT computes, and leave the base as it was
LARGEST = 1_000_000  # characters of a configuration
KEPT_APART = {"auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode", "runtime_config"}
REMEDY = "Merge it into its base with PEFT's merge_and_unload, save that, and give it as a checkpoint."

Names = str | list[str] | None


class _Common(BaseModel):
    """What is honoured whatever the kind of adapter."""

    model_config = ConfigDict(strict=True, extra="allow")

    peft_type: str
    task_type: Literal["CAUSAL_LM"] | None = None
    target_modules: Names = None
    bias: Literal["none"] = "none"


class _Lora(_Common):
    """What is honoured of a LoRA adapter; any other setting must have PEFT's default."""

    r: PositiveInt = 8
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    exclude_modules: Names = None
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal", "eva"] = True
    eva_config: Any = None  # how an adapter was begun; what it became is in its weights
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: Names = None
    rank_pattern: dict[str, PositiveInt] = {}
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    target_parameters: list[str] | None = None
    ensure_weight_tying: bool = False


def read_adapter_config(folder: Path, name: str) -> PeftConfig:
    """Return the configuration of the adapter in `folder`; `name` is what errors call it.

    Adapters of some kinds change the base when they are attached (trained biases, PiSSA, repeated layers), and it would
    stay changed for all that comes after; others need what only their own training loop gives. Raises `ModelError` for
    those, for a setting that this version of PEFT does not know, and for a file that is not a configuration.
    """
    raw = _read(folder / "adapter_config.json", name)
    kind = raw.get("peft_type")
    if kind not in KINDS:
        raise ModelError(
            f"adapter {name}: peft_type is {_short(kind)}; the choices are {', '.join(KINDS)}, which change weights "
            f"and leave the base as it was. {REMEDY}"
        )
    try:
        read = (_Lora if kind == "LORA" else _Common).model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"adapter {name}: {place} is {_short(first['input'])}, which cannot be honoured ({first['msg']}). {REMEDY}"
        ) from error
    known = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
    defaults: dict[str, Any] = known().to_dict()
    for key, value in (read.model_extra or {}).items():
        unknown = key not in defaults and value not in (None, False, [], {})
        if key not in KEPT_APART and (unknown or (kind == "LORA" and value != _plain(defaults.get(key)))):
            why = "which this version of PEFT does not know" if unknown else "which cannot be honoured"
            raise ModelError(f"adapter {name}: {_short(key)} is {_short(value)}, {why}. {REMEDY}")
    given: dict[str, Any] = {key: value for key, value in raw.items() if key in defaults and key not in KEPT_APART}
    given["inference_mode"] = True
    with sentences(f"adapter {name}"):
        return known(**given)


def acts_in_modules(model: Any) -> bool:
    """Tell whether the adapters on a model are known to act in its modules and nowhere else.

    Others may look at the tokens first, or run the model twice: then only the whole model is the model.
    """
    configs: list[Any] = list(model.peft_config.values()) if isinstance(model, PeftModel) else []
    return all(_is_known(config) for config in configs)


def _is_known(config: Any) -> bool:
    if config.peft_type not in KINDS:
        return False
    default = type(config)()
    unknown = {field.name for field in fields(config)} - set(_Lora.model_fields) - KEPT_APART
    return not isinstance(config, LoraConfig) or all(getattr(config, n) == getattr(default, n) for n in unknown)


def check_ranks(config: PeftConfig, weights: dict[str, Tensor], name: str) -> None:
    """Raise `ModelError` if a rank is asked for that no tensor could hold, before memory is taken for it."""
    if not isinstance(config, LoraConfig):
        return
    largest = max((size for key, tensor in weights.items() if "lora_" in key for size in tensor.shape), default=0)
    asked = max(config.r, *(config.rank_pattern or {"": 1}).values())
    if asked > largest:
        raise ModelError(
            f"adapter {name}: adapter_config.json asks for rank {asked}, and no LoRA tensor has more than "
            f"{largest} rows or columns. One of the two files is another adapter's; copy both again."
        )


def named_base(folder: Path, adapter: str) -> str:
    """Return the base that an adapter's configuration names; raises `ModelError` if it names none."""
    named = _read(folder / "adapter_config.json", adapter).get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip():
        raise ModelError(
            f"adapter {adapter}: its adapter_config.json names no base. Add base_model_name_or_path, or give the base."
        )
    return named


def check_named_base(folder: Path, base: Any, adapter: str) -> None:
    """Note it if an adapter's configuration names another base than the one it is put on."""
    named = _read(folder / "adapter_config.json", adapter).get("base_model_name_or_path")
    here = str(base.name_or_path)
    if isinstance(named, str) and named.strip() and here and _short_name(named) != _short_name(here):
        note(f"adapter {adapter} was made for the base {_short(named)} by its own configuration; here it is on {here}.")


def _short_name(model: str) -> str:
    """Return what two names of one model have in common: a folder and a hub id, a link and where it leads to."""
    with contextlib.suppress(OSError, ValueError):
        model = str(Path(model).resolve()) if Path(model).is_dir() else model
    in_cache = re.search(r"models--(?:.*--)?(.+?)/snapshots/", model)
    return (in_cache[1] if in_cache else re.split(r"[/\\]", model.rstrip("/\\"))[-1]).lower()


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        raw = json.loads(text) if len(text) <= LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"adapter {name}: {path.name} cannot be read ({_short(str(error))}). Copy it again."
        ) from error
    if not isinstance(raw, dict):
        raise ModelError(f"adapter {name}: {path.name} is not the configuration of an adapter. Copy it again.")
    return raw


def _plain(default: Any) -> Any:
    """Return a default as JSON gives it back."""
    return json.loads(json.dumps(default, default=list))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
