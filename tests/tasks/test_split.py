"""No prompt leaks from one split into another, whatever the examples are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.tasks.split import Limits, split_by_input
from mossa.tasks.task import Example

PROMPTS = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), min_size=40, max_size=150)


def made(pairs: list[tuple[int, str]]) -> list[Example]:
    return [Example(f"prompt  {number}" if target == "a" else f"prompt {number}", target) for number, target in pairs]


def keys(examples: tuple[Example, ...]) -> set[str]:
    return {" ".join(example.prompt.split()) for example in examples}


@given(pairs=PROMPTS, seed=st.integers(0, 3), train=st.integers(1, 99), test=st.integers(4, 30))
def test_splits_share_no_prompt(pairs: list[tuple[int, str]], seed: int, train: int, test: int) -> None:
    examples = made(pairs)
    if len(keys(tuple(examples))) < 16:
        return
    splits = split_by_input(examples, Limits(train, 9, test), seed, "t")
    trained, validated, tested = map(keys, splits)
    assert not trained & validated and not trained & tested and not validated & tested
    assert len(splits[0]) <= train and len(splits[1]) <= 9 and 4 <= len(splits[2]) <= test
    assert len(tested) == len(splits[2]) and len(validated) == len(splits[1])  # each prompt once
    assert split_by_input(examples, Limits(train, 9, test), seed, "t") == splits


def test_several_references_of_one_prompt_stay_together_in_train() -> None:
    examples = [Example(f"prompt {number}", f"target {k}") for number in range(40) for k in range(3)]
    train, _, test = split_by_input(examples, Limits(1000, 4, 10), 0, "t")
    assert len(test) == 10 and len(train) == 3 * (40 - 10 - 4)


def test_seeds_differ_and_the_order_of_the_file_does_not_matter_for_test() -> None:
    examples = [Example(f"prompt {number}", "x") for number in range(100)]
    first = split_by_input(examples, Limits(50, 5, 20), 0, "t")
    assert split_by_input(examples, Limits(50, 5, 20), 1, "t")[2] != first[2]
    assert split_by_input(examples[::-1], Limits(50, 5, 20), 0, "t") == first


def test_too_few_prompts_is_a_sentence() -> None:
    with pytest.raises(DataError, match=r"task 't' has 3 different prompts; it needs at least 16.*tasks\.only"):
        split_by_input([Example(f"prompt {number % 3}", "x") for number in range(50)], Limits(9, 9, 9), 0, "t")
