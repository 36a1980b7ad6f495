"""Tracks, during fine-tuning, how far every layer moves from the base and how near it comes to controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from peft import PeftModel
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from mossa.errors import ModelError, StudyError
from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase
from mossa.models.frozen_base import base_of
from mossa.representations.extract import represent_tokens
from mossa.representations.represent import encode_prompts, evaluation_mode
from mossa.similarity import compare
from mossa.similarity.arrays import Array
from mossa.similarity.registry import estimator as find_estimator

BASE = "base"


class LayerwiseCallback(TrainerCallback):
    """Measures the similarity of every layer to the base and to controls every few optimizer steps of a `Trainer`.

    `prompts`: a few dozen texts, the same ones each time. `controls`: name -> representations `[n, L, d]` of these
    prompts (`mossa.represent` with the same options), or an adapter of the same base: folder or hub id. `base`: its
    representations; default: taken when training begins. `tokenizer` defaults to the trainer's; `template`, `system`,
    `cutoff` and `too_long` are as in `mossa.represent`.

    Numbers go through the trainer's log, so TensorBoard, W&B and others get them as
    `similarity_<reference>/layer_<l>`; `history` holds them with their standard errors. Training is not changed:
    weights and losses are the same to the bit. It is measured before the first step, every `every` steps and at the
    end. Raises `MossaError` for what cannot be compared, at the latest before the first step.
    """

    def __init__(
        self,
        trainer: Trainer,
        prompts: Sequence[str],
        controls: Mapping[str, Array | str | Path] | None = None,
        every: int = 50,
        *,
        base: Array | None = None,
        estimator: str = "cka-linear-debiased",
        tokenizer: Any = None,
        template: str = "auto",
        system: str | None = None,
        cutoff: int | None = None,
        too_long: Literal["refuse", "shorten-start", "shorten-middle"] = "refuse",
    ) -> None:
        find_estimator(estimator)
        if every < 1:
            raise StudyError(f"every is {every}; give 1 step or more.")
        if BASE in (controls or {}):
            raise StudyError(f"a control is called {BASE!r}, which has a meaning here; give it another name.")
        tokenizer = trainer.processing_class if tokenizer is None else tokenizer
        if tokenizer is None:
            raise ModelError("the trainer has no tokenizer (processing_class); give the callback one: tokenizer=…")
        self.trainer, self.every, self.estimator = trainer, every, estimator
        self._tokens = encode_prompts(trainer.model, tokenizer, prompts, template, system, cutoff, too_long)
        self._given: dict[str, Any] = {**({} if base is None else {BASE: base}), **(controls or {})}
        self._references: dict[str, Array] = {}
        self._rows: list[dict[str, Any]] = []

    @property
    def history(self) -> pd.DataFrame:
        """Return one row per (step, reference, layer), with its similarity.

        Columns: `step`, `epoch`, `reference` (`base` or a control), `layer`, `estimator`, `value`, `standard_error`,
        `low`, `high`, `n`, `d`, `non_finite`, `reason` why a value is null.
        """
        return pd.DataFrame(self._rows)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the representations of the base and of the controls, and measure before the first step."""
        if _is_sharded(args):
            raise ModelError(
                "the weights are sharded over processes (FSDP or DeepSpeed ZeRO-3), so no process holds a whole layer; "
                "LayerwiseCallback needs a model that is whole on one device."
            )
        if not state.is_world_process_zero:
            return
        if not self._references:
            self._references = self._represent_references(kwargs["model"], state)
        self._measure(kwargs["model"], state, control)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure every few steps, and after the last."""
        due = state.global_step % self.every == 0 or state.global_step >= state.max_steps
        if due and state.is_world_process_zero:
            self._measure(kwargs["model"], state, control)

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Measure once more if training was stopped early; loggers are closed by now, so only the history has it."""
        if state.is_world_process_zero and self._rows[-1]["step"] != state.global_step:
            self._measure(kwargs["model"], state, None)

    @torch.no_grad()
    def _represent_references(self, model: Any, state: TrainerState) -> dict[str, Array]:
        """Return the representations of the base and of every control."""
        found = dict(self._given)
        adapters = {name: str(given) for name, given in found.items() if isinstance(given, str | Path)}
        if BASE in found and not adapters:
            return found
        if state.global_step and not isinstance(model, PeftModel):
            raise ModelError(
                f"training goes on from step {state.global_step}, so the base is no longer in memory. Give the "
                "callback its representations (base=mossa.represent(…)), and those of the controls as arrays."
            )
        with torch.random.fork_rng():  # PEFT draws an adapter's weights before those of the file take their place
            base = base_of(model)
            found.setdefault(BASE, represent_tokens(base, self._tokens))
            for name, source in adapters.items():
                with loaded_adapter(LoadedBase(base, None, 0, 0, 0), source) as adapted:
                    found[name] = represent_tokens(adapted, self._tokens)
        return {BASE: found.pop(BASE), **found}

    def _measure(self, model: Any, state: TrainerState, control: TrainerControl | None) -> None:
        """Compare the model as it is now with every reference; note it, and log it if there is a `control`."""
        with evaluation_mode(model):
            now = represent_tokens(model, self._tokens)
        logs: dict[str, float] = {}
        for name, reference in self._references.items():
            reference = torch.as_tensor(reference, device="cpu")
            origin = torch.as_tensor(self._references[BASE], device="cpu")
            compared = compare({"model": now}, reference, [self.estimator], origin=origin, non_finite="drop")
            for row in compared.similarity:
                del row["model"]
                self._rows.append({"step": state.global_step, "epoch": state.epoch, "reference": name, **row})
                if row["value"] is not None:
                    logs[f"similarity_{name}/layer_{row['layer']:02d}"] = row["value"]
        if control is not None:
            wanted = control.should_log  # logging takes back a wish to log the loss at this step
            # The class's own method: TRL's trainers override it and would hand out, and so reset, the means that they
            # gather for the next log of the loss.
            Trainer.log(self.trainer, logs)
            control.should_log = wanted


def _is_sharded(args: TrainingArguments) -> bool:
    """Tell whether no process holds whole weights."""
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    return bool(args.fsdp) or bool(is_deepspeed_zero3_enabled())
