"""The contestants: functions from a view of one task in one case to a number per layer, larger where more is done.

To enter another, write such a function and run `python -m experiments.place score module:function`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peft.tuners.lora import LoraLayer

from mossa.models.blocks import blocks_of
from mossa.models.prompts import Encoded
from mossa.place import Stack
from mossa.place.change import Seen, answer_gain, one_layer_change
from mossa.place.graft import graft
from mossa.similarity import compare
from mossa.training.loss import backward

Floats = NDArray[np.float64]
DEBIASED = "cka-linear-debiased"
GRAFTED = 40  # test examples whose loss is taken of every subset of layers


@dataclass(frozen=True)
class View:
    """One task in one case, as a reading may see it; nothing here says where the task was trained.

    `base` and `tuned`: causal language models of transformers (or PEFT); `stack` puts them together. `examples`: the
    task's 100 test examples as tokens, `templates` their labels, `others`: those of the model's other task, if it has
    one. `seen`: states at the last prompt token (`mossa.place.change`). `control`, `sham`: raw states `[n, L, d]` of a
    model trained on this task alone, and on its prompts with one another's answers (null where there is none).
    """

    base: Any
    tuned: Any
    stack: Stack
    examples: Sequence[Encoded]
    templates: Sequence[str]
    seen: Seen
    control: Any
    sham: Any
    others: Seen | None

    @cached_property
    def grafted(self) -> list[dict[str, Any]]:
        """The rows of a graft on the first 40 examples."""
        return graft(self.stack, self.examples[:GRAFTED]).rows


Reading = Callable[[View], Sequence[float] | Floats]


def paper(view: View) -> Floats:
    """E to control minus base to control."""
    return _cka(_after(view, "tuned"), view.control) - _cka(_after(view, "base"), view.control)


def paper_increment(view: View) -> Floats:
    """The same, from layer to layer."""
    return _increment(paper(view))


def paper_sham(view: View) -> Floats:
    """The paper's reading against a control that learned wrong answers."""
    return _cka(_after(view, "tuned"), view.sham) - _cka(_after(view, "base"), view.sham)


def shared_change_increment(view: View) -> Floats:
    """Similarity of the changes of E and of the control from the base, from layer to layer; 0 where nothing changed."""
    base = _after(view, "base")
    return _increment(np.nan_to_num(_cka(_after(view, "tuned") - base, view.control - base)))


def moved_increment(view: View) -> Floats:
    """1 - CKA(base, tuned), from layer to layer."""
    return _increment(1 - _cka(_after(view, "base"), _after(view, "tuned")))


def update_norm(view: View) -> Floats:
    """Frobenius norm of the update of each layer's weights."""
    pairs = zip(blocks_of(view.base), blocks_of(view.tuned), strict=True)
    return np.array([_norm(base, tuned) for base, tuned in pairs])


def change(view: View) -> Floats:
    """One-layer change: 1 - CKA of base's and the tuned block on the tuned model's input."""
    return _change(view, "one-layer-change")


def change_within(view: View) -> Floats:
    """The same, within templates."""
    rows = one_layer_change(view.stack, view.seen, view.templates)
    return _values(rows, "one-layer-change")


def change_base_input(view: View) -> Floats:
    """One-layer change on the base's input."""
    return _change(view, "one-layer-change, base input")


def relative_change(view: View) -> Floats:
    """One-layer change as a relative norm."""
    return _change(view, "relative-change")


def change_other_prompts(view: View) -> Floats:
    """One-layer change on the prompts of the model's other task: what is not about this task."""
    if view.others is None:
        return np.full(view.stack.layers, np.nan)
    return _values(one_layer_change(view.stack, view.others), "one-layer-change")


def answer(view: View) -> Floats:
    """Answer gain, from layer to layer."""
    firsts = [example.tokens[example.prompt_length] for example in view.examples]
    return _values(answer_gain(view.stack, view.seen, firsts), "answer-gain-increment")


def add_one_in(view: View) -> Floats:
    """What the base gains by one layer's update."""
    return _values(view.grafted, "add-one-in")


def adjacent_cka(view: View) -> Floats:
    """1 - CKA of the base's states before and after each layer."""
    own = view.seen.own["base"]
    return 1 - _cka(own[:, :-1], own[:, 1:])


def gradient_norm(view: View) -> Floats:
    """Norm of the loss's gradient for each layer's weights at the base."""
    blocks = blocks_of(view.base)
    weights = [list(block.parameters()) for block in blocks]
    blocks.requires_grad_(True)
    backward(view.base, view.examples[:GRAFTED], view.stack.device)
    norms = [sum(float((w.grad**2).sum()) for w in block if w.grad is not None) ** 0.5 for block in weights]
    blocks.zero_grad(set_to_none=True)
    blocks.requires_grad_(False)
    return np.array(norms)


def early(view: View) -> Floats:
    """Depth: earlier is more."""
    return np.arange(view.stack.layers, 0, -1, dtype=float)


CONTESTANTS: dict[str, Reading] = {
    "paper": paper,
    "paper-increment": paper_increment,
    "paper-sham": paper_sham,
    "shared-change-increment": shared_change_increment,
    "moved-increment": moved_increment,
    "update-norm": update_norm,
    "one-layer-change": change,
    "one-layer-change-within": change_within,
    "one-layer-change-base-input": change_base_input,
    "one-layer-change-other-prompts": change_other_prompts,
    "relative-change": relative_change,
    "answer-gain-increment": answer,
    "add-one-in": add_one_in,
    "adjacent-cka": adjacent_cka,
    "gradient-norm": gradient_norm,
    "early": early,
}

# On the real model these are left out: they need sham controls, another pass over other prompts, and all gradients.
REAL_CONTESTANTS = {
    name: reading
    for name, reading in CONTESTANTS.items()
    if name not in ("paper-sham", "one-layer-change-other-prompts", "gradient-norm")
}


def _after(view: View, side: str) -> Any:
    """Return the states after layers 1..L, `[n, L, d]`."""
    return np.asarray(view.seen.own[side][:, 1:])


def _cka(one: Any, other: Any) -> Floats:
    rows = compare({"model": one}, other, [DEBIASED]).similarity
    return np.array([np.nan if row["value"] is None else row["value"] for row in rows])


def _increment(values: Floats) -> Floats:
    """Return each layer's value minus that of the layer below; layer 1's own."""
    return np.diff(values, prepend=0.0)


def _change(view: View, reading: str) -> Floats:
    return _values(one_layer_change(view.stack, view.seen), reading)


def _values(rows: Sequence[dict[str, Any]], reading: str) -> Floats:
    found = [row["value"] for row in rows if row["reading"] == reading and row["layer"] > 0]
    return np.array([np.nan if value is None else value for value in found])


def _norm(base: Any, tuned: Any) -> float:
    layers: list[Any] = [module for module in tuned.modules() if isinstance(module, LoraLayer)]
    if layers:
        return sum(float(layer.get_delta_weight("default").pow(2).sum()) for layer in layers) ** 0.5
    originals = dict(base.named_parameters())
    return sum(float((weight - originals[name]).pow(2).sum()) for name, weight in tuned.named_parameters()) ** 0.5
