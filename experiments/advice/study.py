"""From a finished run to advice that PEFT loads: which layers, the configuration, what it saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from peft import LoraConfig

from experiments.advice.layers import Advice, advise
from experiments.advice.saving import Saving, saving
from experiments.advice.text import as_markdown, python
from mossa.analysis import analyse
from mossa.models.adapters import lora_config
from mossa.models.base import without_storage
from mossa.store.folder import RunFolder
from mossa.study.schema import StudySettings


@dataclass(frozen=True, slots=True)
class StudyAdvice:
    """The advice of a study; `config` and `saving` are null if no advice can be given."""

    advice: Advice
    config: LoraConfig | None
    saving: Saving | None

    def python(self) -> str | None:
        """Return Python that makes the configuration, or None if there is no advice."""
        return None if self.config is None else python(_arguments(self.config), self.advice.layers)

    def markdown(self) -> str:
        """Return all of it as Markdown."""
        return as_markdown(self.advice, self.python(), self.saving.lines() if self.saving else ())


def advise_study(study: StudySettings, tables: Mapping[str, pd.DataFrame], model: str | None = None) -> StudyAdvice:
    """Return the advice that the results of a study give, with the recipe's own LoRA on the advised layers.

    Reads the base's configuration and no weights. Raises `MossaError` if the results hold no map, or the base cannot
    be read.
    """
    advice = advise(analyse(tables), model)
    if not advice.layers:
        return StudyAdvice(advice, None, None)
    chosen = study.recipe.lora.model_copy(update={"layers": list(advice.layers)})
    config = lora_config(without_storage(study.base), chosen)
    return StudyAdvice(advice, config, saving(study.base, study.recipe.lora, advice.layers))


def write_advice(found: StudyAdvice, run: RunFolder) -> Path:
    """Write `advice/` into the run folder and return it.

    It holds advice.md, layers.csv and nearest.csv, and, if there is advice, lora_config.py and PEFT's own
    adapter_config.json, for `LoraConfig.from_pretrained`. What an earlier advice left is replaced.
    """
    folder = run.path / "advice"
    code = found.python()
    with run.writing():
        folder.mkdir(parents=True, exist_ok=True)
        run.write(folder / "advice.md", found.markdown())
        found.advice.ranking.to_csv(folder / "layers.csv", index=False)
        found.advice.nearest.to_csv(folder / "nearest.csv", index=False)
        for name in ("lora_config.py", "adapter_config.json"):
            (folder / name).unlink(missing_ok=True)
        if found.config is not None and code is not None:
            run.write(folder / "lora_config.py", code)
            found.config.save_pretrained(str(folder))
    return folder


def _arguments(config: LoraConfig) -> dict[str, Any]:
    """Return the arguments of LoraConfig that make this configuration, as a person would write them."""
    targets = config.target_modules
    arguments: dict[str, Any] = {
        "r": config.r,
        "lora_alpha": int(config.lora_alpha) if float(config.lora_alpha).is_integer() else config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": targets if isinstance(targets, str) else sorted(targets or ()),
        "layers_to_transform": config.layers_to_transform,
        "layers_pattern": config.layers_pattern,
        "task_type": "CAUSAL_LM",
    }
    return arguments | ({"fan_in_fan_out": True} if config.fan_in_fan_out else {})
