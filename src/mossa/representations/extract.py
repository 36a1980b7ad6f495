"""Takes the last prompt token's hidden state after every block: no head, unless targets are scored in the same pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from mossa.errors import ModelError
from mossa.models.adapter_config import acts_in_modules
from mossa.models.batches import Allowance, border_of, by_length, pad_right
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.placement import device_of
from mossa.models.prefix import feed_in_batches
from mossa.models.prompts import Encoded
from mossa.training.loss import TOKEN_BUDGET as SCORING_BUDGET
from mossa.training.loss import Scores, most_targets, vocabulary_of

TOKEN_BUDGET = {"cpu": 1024, "cuda": 32768}  # padded tokens in one batch; more would leave a core's cache
# How far a prompt's states may be from those of the prompt alone, as a share of their norm: far more than by rounding
ROUNDING = {torch.float32: 1e-2, torch.float64: 1e-6}
COARSE = 0.5  # ... in number formats of 16 bits or fewer, where an expert or an outlier may be chosen otherwise

LastLayer = Literal["normed", "raw"]


def represent_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    last_layer: LastLayer = "normed",
    token_budget: int | None = None,
    on_prompts: Callable[[int, int], None] | None = None,
    allowance: Allowance | None = None,
) -> torch.Tensor:
    """Return `[n, L, d]` float32 on the CPU: layer l is `hidden_states[l]` of Hugging Face, l = 1..L.

    Layer L is after the final norm (`normed`) or the last block's own output (`raw`). Prompts are grouped by length and
    right-padded without a mask, which is exact in a causal model; a hook on each block keeps one row per prompt, so
    memory does not grow with layers x tokens. A long prefix that all prompts share goes through the model once. A model
    with an adapter of a kind that we do not know is run whole, one prompt at a time. Where memory runs out, batches are
    halved, which `allowance` counts. Raises `ModelError` for an architecture whose blocks give something else than one
    state per token.
    """
    examples = [Encoded(tokens, len(tokens), False, index) for index, tokens in enumerate(prompts)]
    budget = token_budget or TOKEN_BUDGET[device_of(model).type]
    return _represent(model, examples, last_layer, budget, on_prompts, allowance, None)


def represent_and_score(
    model: Any,
    examples: Sequence[Encoded],
    last_layer: LastLayer = "normed",
    on_examples: Callable[[int, int], None] | None = None,
    allowance: Allowance | None = None,
) -> tuple[torch.Tensor, Scores]:
    """Return what `represent_tokens` gives for the prompts, and `token_losses` for the targets, from one pass.

    In a causal model no target is seen from the last token of its prompt. `is_one_pass` tells where this holds.
    """
    scores = Scores.of(len(examples))
    budget = SCORING_BUDGET[device_of(model).type]
    return _represent(model, examples, last_layer, budget, on_examples, allowance, scores), scores


def is_one_pass(model: Any, prompts: Sequence[Encoded], examples: Sequence[Encoded]) -> bool:
    """Tell whether one pass over `examples` represents the `prompts` too, to rounding.

    It does if `examples` are these prompts with a target behind each, none of them shortened or left out to make room
    for it, and no example is so long that the model becomes another function.
    """
    return (
        are_same_prompts(prompts, examples)
        and acts_in_modules(model)
        and (longest := max((len(example.tokens) for example in examples), default=0)) <= border_of(model, longest)
    )


def are_same_prompts(prompts: Sequence[Encoded], examples: Sequence[Encoded]) -> bool:
    """Tell whether the same texts, encoded without and with a target, have the same prompts: as many, of equal length.

    One of another length has been shortened to make room for its target.
    """
    return [(each.index, each.prompt_length) for each in prompts] == [
        (each.index, each.prompt_length) for each in examples
    ]


@torch.no_grad()
def _represent(
    model: Any,
    examples: Sequence[Encoded],
    last_layer: LastLayer,
    token_budget: int,
    on_examples: Callable[[int, int], None] | None,
    allowance: Allowance | None,
    scores: Scores | None,
) -> torch.Tensor:
    """Return the states `[n, L, d]` at the last token of every prompt, and fill in the `scores` of the targets."""
    device, known = device_of(model), acts_in_modules(model)
    representations = torch.empty(len(examples), len(blocks_of(model)), _width(model))

    def feed(places: list[int], batch: list[Encoded], given: dict[str, Any]) -> None:
        def run() -> None:
            if scores is None:
                ids = pad_right([example.tokens for example in batch], device)
                (decoder_of(model) if known else model)(input_ids=ids, **given)
            else:
                scores.add(places, batch, model, device, given)

        with _Taps(model, last_layer, logits=scores is not None) as taps:  # not while the prefix runs
            representations[places] = taps.take([example.prompt_length for example in batch], run)

    most = sys.maxsize if scores is None else most_targets(vocabulary_of(model))
    feed_in_batches(model, examples, token_budget if known else 1, feed, allowance, most, on_examples)
    return representations


@torch.no_grad()
def check_alone(
    model: Any,
    prompts: Sequence[Sequence[int]],
    found: torch.Tensor,
    last_layer: LastLayer = "normed",
    behind: Sequence[int] | None = None,
) -> None:
    """Raise `ModelError` unless one prompt, fed alone to the whole model, gives the row that was `found` for it.

    `found`: `[n, L, d]` of `represent_tokens`, or of `represent_and_score` with so many target tokens `behind` the
    prompts. The prompt is the one that most tokens stood behind, or that shared a prefix. This detects models whose
    output depends on the whole batch although no setting says so, and adapters that do more than change modules, so
    that the decoder alone is not the model.
    """
    if not prompts:
        return
    device, lengths = device_of(model), list(map(len, prompts))
    fed = [length + more for length, more in zip(lengths, behind or [0] * len(lengths), strict=True)]
    budget = TOKEN_BUDGET[device.type] if behind is None else SCORING_BUDGET[device.type]
    groups = by_length(fed, budget, border_of(model, max(fed)))
    padded = {index: fed[group[0]] - lengths[index] for group in groups for index in group}
    place = max(range(len(prompts)), key=lambda index: padded[index])
    with _Taps(model, last_layer) as taps:
        ids = pad_right([prompts[place]], device)
        alone = taps.take([lengths[place]], lambda: model(input_ids=ids, use_cache=False))[0]
    far = float(((found[place] - alone).norm(dim=-1) / alone.norm(dim=-1)).max())
    if far > tolerance(model):
        raise ModelError(
            f"{type(model).__name__}: a prompt of {lengths[place]} tokens gives other states among {len(prompts)} than "
            f"alone (by {far:.0%}), so something in it depends on its batch, or on more than the decoder. It cannot be "
            "represented exactly. Lower prompt.cutoff, or merge the adapter if it has one."
        )


def tolerance(model: Any) -> float:
    """Return how far a prompt's states may be from those of the prompt alone, as a share of their norm."""
    return ROUNDING.get(model.dtype, COARSE)


class _Taps:
    """Hooks that keep one row per sequence from the output of every block and of the decoder; removed on exit."""

    def __init__(self, model: Any, last_layer: LastLayer, logits: bool = False) -> None:
        self.model, self.normed, self.logits = model, last_layer == "normed", logits

    def __enter__(self) -> _Taps:
        blocks = blocks_of(self.model)
        self.hooks = [block.register_forward_hook(self._keep) for block in blocks]
        head = self.model.get_output_embeddings()
        if head and not self.logits:  # the whole model may run, for its states alone
            self.hooks.append(head.register_forward_pre_hook(lambda _head, given: (given[0][:, -1:], *given[1:])))
        if self.normed:
            self.hooks.append(decoder_of(self.model).register_forward_hook(self._keep_final))
        return self

    def __exit__(self, *_error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def take(self, lengths: Sequence[int], run: Callable[[], Any]) -> torch.Tensor:
        """Return `[b, L, d]` float32 on the CPU: what `run` gives after each block, at the last of so many tokens."""
        self.kept: list[torch.Tensor] = []
        self.last = torch.tensor(lengths, device=device_of(self.model)) - 1
        run()
        return torch.stack([rows.to("cpu", torch.float32) for rows in self.kept], dim=1)

    def _keep(self, block: Any, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple | list) else output
        width = _width(self.model)
        if not isinstance(hidden, torch.Tensor) or hidden.dim() != 3 or hidden.shape[-1] != width:
            shape = list(hidden.shape) if isinstance(hidden, torch.Tensor) else type(hidden).__name__
            raise ModelError(
                f"{type(self.model).__name__}: a {type(block).__name__} gives {shape}, not one state of width {width} "
                "per token, so its layers cannot be compared."
            )
        self.kept.append(self._rows(hidden))

    def _keep_final(self, _decoder: Any, _inputs: Any, output: Any) -> None:
        final, width = output.last_hidden_state, _width(self.model)
        if final.shape[-1] != width:
            raise ModelError(
                f"{type(self.model).__name__} projects its last layer from {width} to {final.shape[-1]} dimensions. "
                "Set representations.last_layer: raw."
            )
        self.kept[-1] = self._rows(final)

    def _rows(self, hidden: torch.Tensor) -> torch.Tensor:
        last = self.last.to(hidden.device)
        return hidden[torch.arange(len(last), device=hidden.device), last]


def _width(model: Any) -> int:
    return model.config.get_text_config().hidden_size
