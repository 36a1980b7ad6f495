"""Represents prompts with a model that the caller has in memory, without changing it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch

from mossa.errors import DataError, ModelError
from mossa.models.base import check_vocabulary, longest_input
from mossa.models.conversations import tell_systems_without_place
from mossa.models.prompts import Encoded, make_format
from mossa.representations.extract import check_alone, represent_tokens
from mossa.study.loading import checked
from mossa.study.schema import Prompt
from mossa.tasks.turns import prompts_of


def represent(
    model: Any,
    tokenizer: Any,
    prompts: Iterable[Any],
    *,
    template: str = "auto",
    system: str | None = None,
    cutoff: int | None = None,
    too_long: Literal["refuse", "shorten-start", "shorten-middle"] = "refuse",
    last_layer: Literal["normed", "raw"] = "normed",
) -> torch.Tensor:
    """Return `[n, L, d]` float32 on the CPU: row i is the last token of prompt i after every layer 1..L.

    `prompts`: texts, or lists of messages that end with the user. `model`: a causal language model of transformers, or
    one with an adapter of PEFT on it, on any device; its mode, hooks and weights are left as they were. `template`,
    `system`, `cutoff` and `last_layer` are as in a study; no
    prompt is left out: one that does not fit is refused, or shortened if `too_long` says so. Raises `ModelError` for a
    model or tokenizer that cannot be used, `DataError` for a prompt that cannot.
    """
    model = uncompiled(model)
    tokens = encode_prompts(model, tokenizer, prompts, template, system, cutoff, too_long)
    if repeated := len(tokens) - len(set(map(tuple, tokens))):
        warnings.warn(
            f"{repeated} of {len(tokens)} prompts repeat an earlier one: similarity is too high and its interval too "
            "narrow with them. Keep each prompt once.",
            UserWarning,
            stacklevel=2,
        )
    with evaluation_mode(model):
        found = represent_tokens(model, tokens, last_layer)
        check_alone(model, tokens, found, last_layer)
        return found


def encode_prompts(
    model: Any,
    tokenizer: Any,
    prompts: Iterable[Any],
    template: str = "auto",
    system: str | None = None,
    cutoff: int | None = None,
    too_long: Literal["refuse", "shorten-start", "shorten-middle"] = "refuse",
) -> list[list[int]]:
    """Return the tokens of every prompt, in their order; raises as `represent` does."""
    encoded = encode_examples(model, tokenizer, prompts, None, template, system, cutoff, too_long)
    return [list(each.tokens) for each in encoded]


def encode_examples(
    model: Any,
    tokenizer: Any,
    prompts: Iterable[Any],
    targets: Sequence[str] | None,
    template: str,
    system: str | None,
    cutoff: int | None,
    too_long: Literal["refuse", "shorten-start", "shorten-middle"],
) -> list[Encoded]:
    """Return every prompt as tokens, followed by its target and the end of sequence if there are `targets`."""
    examples = prompts_of(prompts)
    if str(too_long) == "skip":
        raise DataError("too_long: skip would leave rows out; give refuse, shorten-start or shorten-middle.")
    if not hasattr(model, "get_decoder"):
        raise ModelError(f"{type(model).__name__} is not a causal language model of transformers; give one.")
    check_vocabulary(model.config, tokenizer, type(model).__name__)
    settings = checked(Prompt, template=template, system=system, cutoff=cutoff, too_long=too_long)
    form = make_format(tokenizer, settings, longest_input(model.config, tokenizer))
    if targets is not None:
        examples = [replace(example, target=target) for example, target in zip(examples, targets, strict=True)]
    encoded = form.encode(examples, "prompts", with_target=targets is not None)
    tell_systems_without_place(form, examples)
    if len(encoded) < len(examples):
        there = {each.index for each in encoded}
        missing = next(index for index in range(len(examples)) if index not in there)
        raise DataError(f"prompts, example {missing + 1}: nothing of it fits; raise cutoff or choose another template.")
    return encoded


def uncompiled(model: Any) -> Any:
    """Return the model inside what `torch.compile` gives, which computes the same and can be listened to."""
    return getattr(model, "_orig_mod", model)


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Put every part of a model into evaluation mode inside the block, and restore it afterwards.

    Raises `ModelError` if an adapter adds tokens to every prompt, so that the last prompt token is no longer the last.
    """
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ModelError(
            "the model has an adapter that adds tokens to every prompt; only adapters that change weights, such as "
            "LoRA, leave the last prompt token comparable."
        )
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
