"""Graft: what the update of a layer, or of a window of layers, is worth in test loss."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mossa.models.prompts import Encoded
from mossa.place.blocks import ENDS
from mossa.place.estimates import FEWEST, PlaceValue, nothing, ratio, row, undefined
from mossa.place.exchange import Choice, block_runs, exchanged_losses
from mossa.place.stack import Stack, Variant

EXACT = 10  # layers with an update of which all subsets are run
PAIRS = 8  # of a permutation and its reverse, where there are more layers
KEPT = 0.9  # the share of the gain that a window is asked for
SPANS = 10  # windows that begin and end in as many places at most

Set = frozenset[int]
Contrast = Mapping[Set, float]  # a sum of gains of sets of layers


@dataclass(frozen=True, slots=True)
class Grafted:
    """Rows per layer, and what concerns all: `gain` of the tuned model over its base in nats per target token.

    `sufficient`: the smallest window of layers whose update alone gives 90 % of the gain. `necessary`: the smallest
    without whose update no more than 10 % is left. None where there is no gain.
    """

    rows: list[dict[str, Any]]
    gain: PlaceValue | None
    sufficient: tuple[int, int] | None = None
    necessary: tuple[int, int] | None = None


def graft(
    stack: Stack,
    examples: Sequence[Encoded],
    window: int = 1,
    variant: Variant = "tuned",
    null: bool = False,
    curves_only: bool = False,
) -> Grafted:
    """Return what each layer's update is worth, in nats per target token; a larger value means a larger contribution.

    `leave-one-out`: what the tuned model loses without it. `add-one-in`: what the base gains by it. `first-k`: what it
    adds to the layers below it, `last-k` to those above it. `shapley`: the mean of what it adds over all orders,
    exact for up to 10 layers with an update, else over antithetic pairs of permutations. `window`: an odd width;
    more than 1 gives `leave-window-out` and `add-window-in` of the layers around each. `null`: `add-one-in-null` is
    what a random update of the same size is worth. `variant`: the part of the update that is exchanged.
    `curves_only`: no Shapley values and no smallest windows, which are most of the work in a deep model.
    """
    layers = range(1, stack.layers + 1)
    players = [layer for layer in range(stack.layers + 1) if stack.changed[layer]]
    suffix = "" if variant == "tuned" else f", {variant}"
    named = _contrasts(players, window, null, shapley=not curves_only)
    contrasts = {f"{name}{suffix}": by_layer for name, by_layer in named.items()}
    spans = _spans(players) if variant == "tuned" and not curves_only else {}
    titles, n = list(contrasts), len(examples)
    if n < FEWEST:
        return Grafted(undefined(layers, titles, n, f"only {n} prompts; {FEWEST} are needed"), None)
    if not players:
        return Grafted([nothing(layer, title, n) for title in titles for layer in layers], None)
    value = _Game(stack, examples, contrasts, spans, variant)
    if value.n < FEWEST:
        reason = f"only {value.n} prompts have finite losses; {FEWEST} are needed"
        return Grafted(undefined(layers, titles, value.n, reason), None)
    whole = value(_alone(frozenset(players)))
    if whole.low is None or whole.low <= 0:
        reason = f"no gain to share: {whole.value:+.3f} nats per target token [{whole.low:+.3f}, {whole.high:+.3f}]"
        return Grafted(undefined(layers, titles, value.n, reason), whole)
    shown = layers if ENDS not in players else range(stack.layers + 1)
    rows = [
        row(layer, title, value(*by_layer[layer]), value.n, _ends(layer))
        if layer in by_layer
        else nothing(layer, title, value.n)
        for title, by_layer in contrasts.items()
        for layer in shown
    ]
    shares = {span: value(_alone(members)).value / whole.value for span, members in spans.items()}
    left = {span: value(_alone(frozenset(players) - members)).value / whole.value for span, members in spans.items()}
    return Grafted(
        rows,
        whole,
        _smallest([span for span, share in shares.items() if share >= KEPT]),
        _smallest([span for span, share in left.items() if share <= 1 - KEPT]),
    )


def passes(layers: int) -> float:
    """Return how many forward passes of the blocks a graft takes if all layers have an update."""
    players = list(range(1, layers + 1))
    choices = [
        _choice(each, layers, "tuned") for each in _sets(players, _contrasts(players, window=1), _spans(players))
    ]
    return 1 + block_runs(choices) / layers


def _sets(
    players: Collection[int],
    contrasts: Mapping[str, Mapping[int, Sequence[Contrast]]],
    spans: Mapping[tuple[int, int], Set],
) -> set[Set]:
    """Return all sets of layers whose losses are needed."""
    everyone = frozenset(players)
    sets = {frozenset[int](), everyone}
    sets |= {each for named in contrasts.values() for several in named.values() for one in several for each in one}
    return sets | {each for members in spans.values() for each in (members, everyone - members)}


class _Game:
    """Gains of sets of layers: every set that is asked for is run once, all in one walk."""

    def __init__(
        self,
        stack: Stack,
        examples: Sequence[Encoded],
        contrasts: Mapping[str, Mapping[int, Sequence[Contrast]]],
        spans: Mapping[tuple[int, int], Set],
        variant: Variant,
    ) -> None:
        players = [layer for layer, changed in enumerate(stack.changed) if changed]
        sets = _sets(players, contrasts, spans)
        self.index = {each: place for place, each in enumerate(sorted(sets, key=sorted))}
        choices = [_choice(each, stack.layers, variant) for each in self.index]
        losses = exchanged_losses(stack, examples, choices)
        self.tokens = np.array([len(example.tokens) - example.prompt_length for example in examples], dtype=float)
        finite = np.isfinite(losses).all(axis=1)
        self.gains, self.tokens = -losses[finite], self.tokens[finite]
        self.n = int(finite.sum())

    def __call__(self, *draws: Contrast) -> PlaceValue:
        """Return the mean of some contrasts; that they differ from draw to draw adds to the standard error."""
        each = [self._of(draw) for draw in draws]
        totals = np.array([values.sum() for values in each]) / self.tokens.sum()
        extra = float(totals.var(ddof=1)) / len(each) if len(each) > 1 else 0.0
        return ratio(np.mean(each, axis=0), self.tokens, extra)

    def _of(self, contrast: Contrast) -> Any:
        places = [self.index[members] for members in contrast]
        return self.gains[:, places] @ np.array(list(contrast.values()))


def _contrasts(
    players: Sequence[int], window: int, null: bool = False, shapley: bool = True
) -> dict[str, dict[int, Sequence[Contrast]]]:
    """Return by reading and layer the gains that are added up, one contrast or several whose mean is taken.

    A layer with a minus sign means a random update of it.
    """
    everyone, nobody = frozenset(players), frozenset[int]()

    def each(of: Callable[[int], Contrast]) -> dict[int, Sequence[Contrast]]:
        return {player: [of(player)] for player in players}

    def step(player: int, before: Set) -> Contrast:
        return {before | {player}: 1.0, before: -1.0}

    found: dict[str, dict[int, Sequence[Contrast]]] = {
        "leave-one-out": each(lambda p: step(p, everyone - {p})),
        "add-one-in": each(lambda p: step(p, nobody)),
        "first-k": each(lambda p: step(p, frozenset(q for q in players if q < p))),
        "last-k": each(lambda p: step(p, frozenset(q for q in players if q > p))),
    }
    if shapley:
        found["shapley"] = _exact(players) if len(players) <= EXACT else _sampled(players)
    if window > 1:
        around = {p: frozenset(q for q in players if abs(q - p) <= window // 2) for p in players}
        found["leave-window-out"] = each(lambda p: {everyone: 1.0, everyone - around[p]: -1.0})
        found["add-window-in"] = each(lambda p: {around[p]: 1.0, nobody: -1.0})
    if null:
        found["add-one-in-null"] = {p: [{frozenset([-p]): 1.0, nobody: -1.0}] for p in players if p != ENDS}
    return found


def _exact(players: Sequence[int]) -> dict[int, Sequence[Contrast]]:
    """Return Shapley's values over all subsets (Shapley 1953)."""
    count = len(players)
    found: dict[int, Sequence[Contrast]] = {}
    for player in players:
        others = [other for other in players if other != player]
        weights: dict[Set, float] = {}
        for size in range(count):
            weight = 1 / (count * math.comb(count - 1, size))
            for members in combinations(others, size):
                weights[frozenset(members) | {player}] = weight
                weights[frozenset(members)] = -weight
        found[player] = [weights]
    return found


def _sampled(players: Sequence[int]) -> dict[int, Sequence[Contrast]]:
    """Return one contrast per pair of a random permutation and its reverse (Castro et al. 2009; Mitchell et al. 2022).

    In each pair the values of all layers add up to the whole gain.
    """
    rng = np.random.default_rng(0)
    draws: dict[int, list[Contrast]] = {player: [] for player in players}
    for _ in range(PAIRS):
        order = [players[place] for place in rng.permutation(len(players))]
        weights: dict[int, Counter[Set]] = {player: Counter() for player in players}
        for one in (order, order[::-1]):
            for place, player in enumerate(one):
                weights[player][frozenset(one[: place + 1])] += 0.5  # pyright: ignore[reportArgumentType]
                weights[player][frozenset(one[:place])] -= 0.5  # pyright: ignore[reportArgumentType]
        for player, contrast in weights.items():
            draws[player].append(contrast)
    return dict(draws)


def _spans(players: Sequence[int]) -> dict[tuple[int, int], Set]:
    """Return windows of neighbouring layers by their first and last, on a grid of at most `SPANS` places."""
    inner = [player for player in players if player != ENDS]
    step = math.ceil(len(inner) / SPANS) or 1
    cells = [inner[start : start + step] for start in range(0, len(inner), step)]
    spans = combinations(range(len(cells) + 1), 2)
    joined = [[layer for cell in cells[start:stop] for layer in cell] for start, stop in spans]
    return {(span[0], span[-1]): frozenset(span) for span in joined}


def _smallest(spans: Collection[tuple[int, int]]) -> tuple[int, int] | None:
    return min(spans, key=lambda span: (span[1] - span[0], span), default=None)


def _alone(members: Set) -> Contrast:
    return {members: 1.0, frozenset(): -1.0} if members else {members: 0.0}


def _choice(members: Set, layers: int, variant: Variant) -> Choice:
    def of(layer: int) -> Variant:
        if layer and -layer in members:
            return "random"
        return ("tuned" if layer == ENDS else variant) if layer in members else "base"

    return tuple(of(layer) for layer in range(layers + 1))


def _ends(layer: int) -> str | None:
    return "embeddings, final norm and head" if layer == ENDS else None
