"""On a GPU, micro-batches weigh filling against what each of them costs beside its tokens; none has too many logits."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mossa.cost.work import training_work
from mossa.models.batches import by_length, least_filled
from mossa.models.prompts import Encoded
from mossa.models.shape import Shape
from mossa.study.recipe import Recipe
from mossa.tinyflan.bases import base_folder
from mossa.training.loss import TOKEN_BUDGET, micro_batches, most_targets

LLAMA_7B = Shape(32, 4096, 6_738_415_616, 13.5e9, 13.5e9, True, 6_476_005_376, 1, 32000, 1, 4_194_304, 5e6, 1.0, False)


# Lengths of sequences with how many of their tokens are targets
SEQUENCES = st.integers(2, 40).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length - 1)))


@given(
    sequences=st.lists(SEQUENCES, min_size=1, max_size=8),
    budget=st.integers(1, 150),
    each=st.integers(0, 60),
    most=st.integers(1, 120),
)
def test_no_way_to_cut_the_sorted_lengths_costs_less(
    sequences: list[tuple[int, int]], budget: int, each: int, most: int
) -> None:
    lengths, targets = map(list, zip(*sequences, strict=True))

    def cost(groups: list[list[int]]) -> int:
        return sum(each + len(group) * max(lengths[index] for index in group) for group in groups)

    best = least_filled(lengths, budget, each, targets=targets, most=most)
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for count in range(len(order)):
        for cuts in combinations(range(1, len(order)), count):
            ends = [*cuts, len(order)]
            groups = [order[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
            if all(
                len(group) == 1
                or (len(group) * lengths[group[0]] <= budget and sum(targets[index] for index in group) <= most)
                for group in groups
            ):
                assert cost(best) <= cost(groups)


@given(
    sequences=st.lists(SEQUENCES, max_size=30),
    device=st.sampled_from(["cpu", "cuda"]),
    budget=st.integers(1, 200),
    most=st.integers(1, 100),
    weights=st.integers(10**9, 10**13),
)
def test_only_a_single_example_has_more_targets_than_allowed(
    sequences: list[tuple[int, int]], device: str, budget: int, most: int, weights: int
) -> None:
    lengths, targets = [length for length, _ in sequences], [count for _, count in sequences]
    groups = micro_batches(lengths, device, weights, budget, targets=targets, most=most)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded, held = len(group) * max(lengths[index] for index in group), sum(targets[index] for index in group)
        assert len(group) == 1 or (padded <= budget and held <= most)
    if sum(targets) <= most:  # where it does not bind, it changes nothing
        assert groups == micro_batches(lengths, device, weights, budget)


@given(
    sequences=st.lists(SEQUENCES, max_size=200), vocabulary=st.integers(2, 2**18), weights=st.integers(10**6, 10**11)
)
def test_groups_are_as_they_were_on_a_cpu_and_with_small_vocabularies(
    sequences: list[tuple[int, int]], vocabulary: int, weights: int
) -> None:
    lengths, targets = [length for length, _ in sequences], [count for _, count in sequences]
    demo = json.loads((base_folder("a") / "config.json").read_text())["vocab_size"]
    for device, words in (("cpu", vocabulary), ("cpu", demo), ("cuda", demo)):
        budget = TOKEN_BUDGET[device]
        assert most_targets(words) >= budget  # of a full micro-batch's tokens, not all can be targets
        groups = micro_batches(lengths, device, weights, budget, targets=targets, most=most_targets(words))
        assert groups == micro_batches(lengths, device, weights, budget)


def heavy_tailed(count: int) -> list[Encoded]:
    """Examples as a mixture of tasks has them: most short, some many times as long, cut at 1,024 tokens."""
    random = np.random.default_rng(0)
    lengths = np.minimum(1024, 150 + random.lognormal(4.5, 1.0, count)).astype(int)
    return [Encoded(range(length), length - 5, False, place) for place, length in enumerate(lengths.tolist())]


def test_a_mixture_is_filled_by_a_fifth_at_most_and_a_cpu_goes_on_as_before() -> None:
    examples = heavy_tailed(3200)
    on_gpu = training_work(examples, 200, Recipe(), 0, LLAMA_7B, "cuda")
    lengths = [len(example.tokens) for example in examples]
    assert on_gpu.tokens == sum(lengths) and on_gpu.padded <= 1.2 * on_gpu.tokens
    in_order = [lengths[start : start + 16] for start in range(0, 3200, 16)]
    whole = sum(16 * max(step) for step in in_order)  # as the token budget alone would have it: no step is split
    assert all(len(by_length(step, 16384)) == 1 for step in in_order) and whole > 2 * on_gpu.tokens


def test_activations_are_computed_again_only_where_memory_asks_for_it() -> None:
    examples, auto = heavy_tailed(64), Recipe(gradient_checkpointing="auto")
    for gigabytes, again in ((80, False), (40, False), (24, True)):
        memory = 1e9 * gigabytes - LLAMA_7B.weight_bytes
        work = training_work(examples, 4, auto, 0, LLAMA_7B, "cuda", memory)
        fixed = auto.model_copy(update={"gradient_checkpointing": again})
        assert work == training_work(examples, 4, fixed, 0, LLAMA_7B, "cuda") and work.again == again


def test_a_small_base_is_not_split_where_dispatch_is_all_it_costs() -> None:
    assert len(least_filled([1000, *[10] * 15], 16384, 3.4e12 / 1e8)) == 1
