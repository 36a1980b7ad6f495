"""A base and a tuned model as one stack of blocks, in which each block can come from either."""

from __future__ import annotations

import copy
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from peft import PeftModel
from torch import nn
from torch.nn import functional

from mossa.errors import ModelError
from mossa.models.batches import pad_right
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.frozen_base import base_of
from mossa.models.placement import device_of
from mossa.place.blocks import changed_layers, like, part_of, random_update

Side = Literal["base", "tuned"]
Variant = Literal["base", "tuned", "attention", "feed-forward", "random"]
ROWS = 256  # positions whose logits are in memory at a time
SEED = 20  # of random updates


@dataclass(frozen=True)
class Trace:
    """One batch in one model: `states`, the input of block 1 and every block's output, L + 1 of `[b, s, d]`.

    `calls`: what else each block was given (positions, masks), as positional and named arguments. `shared`: of that,
    what earlier blocks had written into by then (keys and values for later ones). `final`: the last block's output
    after the final norm.
    """

    states: list[torch.Tensor]
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    shared: list[dict[str, Any]]
    final: torch.Tensor


class _Given(nn.Module):
    """Takes the place of the blocks and returns the states that it was given."""

    def __init__(self, block: nn.Module, tuples: bool) -> None:
        super().__init__()
        self.states = torch.empty(0)
        self.tuples = tuples
        self.attention_type = getattr(block, "attention_type", None)

    def forward(self, *_inputs: Any, **_named: Any) -> Any:
        """Return the states `[m, 1, d]`."""
        return (self.states,) if self.tuples else self.states


class Stack:
    """L blocks of a base and of a model tuned from it; neither model is changed.

    `changed` tells for 0..L where their weights differ, 0 being embeddings, final norm and head. `base` may be None if
    `tuned` has an adapter of PEFT. Both are in evaluation mode. Raises `ModelError` if their architectures differ.
    """

    def __init__(self, base: Any, tuned: Any) -> None:
        if isinstance(tuned, PeftModel) and (base is None or decoder_of(base) is decoder_of(tuned)):
            changed_layers(tuned, tuned)  # raises if the adapter is merged, which cannot be undone
            base = base_of(tuned)
        if base is None:
            raise ModelError("base is None, and the tuned model has no adapter of PEFT to take off. Give its base.")
        self.models: dict[Side, Any] = {"base": _bare(base), "tuned": _bare(tuned)}
        self.changed = changed_layers(self.models["base"], self.models["tuned"])
        self.layers = len(self.changed) - 1
        self.device = device_of(self.models["base"])
        self._blocks: dict[tuple[int, Variant], nn.Module] = {}
        self._tuples = False  # whether blocks give their states as the first of several things; a trace tells
        self._tails: dict[Side, tuple[_Given, Any]] = {}

    def block(self, layer: int, variant: Variant) -> nn.Module:
        """Return a block, 1..L; where nothing was tuned, the base's own."""
        variant = variant if self.changed[layer] else "base"
        if (layer, variant) not in self._blocks:
            base, tuned = (blocks_of(model)[layer - 1] for model in self.models.values())
            made: nn.Module | None = {"base": base, "tuned": tuned}.get(variant)
            if variant == "random":
                made = random_update(base, tuned, SEED + layer)
            elif made is None:
                made = part_of(base, tuned, variant)
            if made is None:
                raise ModelError("random updates exist only for LoRA and for whole checkpoints; leave null out.")
            self._blocks[layer, variant] = made
        return self._blocks[layer, variant]

    def run(self, layer: int, variant: Variant, states: torch.Tensor, trace: Trace) -> torch.Tensor:
        """Return what a block makes of `states` `[b, s, d]`, given what `trace` says that blocks are given.

        Where blocks share keys and values, a block takes those of the blocks that were run last before it.
        """
        args, named = trace.calls[layer - 1]
        return _first(self.block(layer, variant)(states, *args, **named))

    def run_on_input(self, layer: int, variant: Variant, trace: Trace) -> torch.Tensor:
        """Return what a block makes of all that the block at this layer was given in `trace`."""
        args, named = trace.calls[layer - 1]
        shared = {name: copy.copy(written) for name, written in trace.shared[layer - 1].items()}
        return _first(self.block(layer, variant)(trace.states[layer - 1], *args, **named | shared))

    def trace(self, side: Side, sequences: Sequence[Sequence[int]]) -> Trace:
        """Run a model on a right-padded batch and return all that happens between its blocks."""
        states: list[torch.Tensor] = []
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        shared: list[dict[str, Any]] = []

        def before(_block: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            named = dict(named)
            states.append(args[0] if args else named.pop("hidden_states"))
            calls.append((args[1:], named))
            shared.append({key: copy.copy(value) for key, value in named.items() if isinstance(value, MutableMapping)})

        def after(_block: Any, _inputs: Any, output: Any) -> None:
            self._tuples = isinstance(output, tuple)
            states.append(_first(output))

        model = self.models[side]
        blocks = blocks_of(model)
        hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
        hooks.append(blocks[-1].register_forward_hook(after))
        try:
            given = decoder_of(model)(input_ids=pad_right(sequences, self.device), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        if len(calls) != self.layers:
            raise ModelError(f"{type(model).__name__} runs its blocks {len(calls)} times, not {self.layers}.")
        return Trace(states, calls, shared, given.last_hidden_state)

    def losses(self, side: Side, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss (nats, float64 `[m]` on the CPU) that final norm and head give states `[m, d]` of layer L."""
        return self.score(side, states, labels)[0]

    def score(self, side: Side, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `losses`, and whether each label is the argmax (`[m]` on the CPU)."""
        losses: list[torch.Tensor] = []
        right: list[torch.Tensor] = []
        for rows, wanted in zip(states.split(ROWS), labels.split(ROWS), strict=True):
            logits = self.logits(side, rows)
            logits, wanted = logits if logits.dtype == torch.float64 else logits.float(), wanted.to(logits.device)
            losses.append(functional.cross_entropy(logits, wanted, reduction="none").double().cpu())
            right.append((logits.argmax(-1) == wanted).cpu())
        return torch.cat(losses), torch.cat(right)

    @torch.no_grad()
    def check(self, sequences: Sequence[Sequence[int]]) -> None:
        """Raise `ModelError` if running block by block, and then the head, is not what each model does as a whole."""
        base = self.trace("base", sequences[:1])
        for side, model in self.models.items():
            own = self.trace(side, sequences[:1])
            states = own.states[0]
            for layer in range(1, self.layers + 1):
                states = self.run(layer, side, states, base)
            whole = model(input_ids=pad_right(sequences[:1], self.device), use_cache=False).logits[0]
            taken = self.logits(side, states[0])
            size = float(whole.float().abs().max())
            gap = float((whole.float() - taken.to(whole.device).float()).abs().max())
            if not gap <= 0.01 * size:
                raise ModelError(
                    f"the {side} model ({type(model).__name__}) does not give the same when its blocks are run one by "
                    f"one: its logits differ by {gap:.2g} of {size:.2g}. Its layers cannot be exchanged."
                )

    def logits(self, side: Side, states: torch.Tensor) -> torch.Tensor:
        """Return the logits `[m, vocabulary]` that the model without its blocks makes of states `[m, d]` of layer L."""
        if side not in self._tails:
            blocks = blocks_of(self.models[side])
            given = _Given(blocks[-1], self._tuples)
            self._tails[side] = given, like(self.models[side], {id(blocks): nn.ModuleList([given])})
        given, short = self._tails[side]
        given.states = states.unsqueeze(1)
        ids = torch.zeros(len(states), 1, dtype=torch.long, device=self.device)
        return short(input_ids=ids, use_cache=False).logits[:, 0]


def _bare(model: Any) -> Any:
    return cast(Any, model).get_base_model() if isinstance(model, PeftModel) else model


def _first(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output
