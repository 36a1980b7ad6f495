"""One pass gives what evaluation, representation and the readings of place give one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch

from mossa.models.prompts import Encoded
from mossa.paired.inputs import task_examples
from mossa.paired.reading import layer_rows, read
from mossa.place import Stack, locate_update
from mossa.representations import represent_tokens
from mossa.tasks.task import Example, Task
from mossa.training.loss import token_losses
from tests.place.worlds import make_adapted, make_base, make_checkpoint, make_data

DATA = make_data(12)


@pytest.fixture(scope="module")
def base() -> Any:
    return make_base()


@pytest.fixture(scope="module", params=["adapter", "checkpoint"])
def stack(base: Any, request: pytest.FixtureRequest) -> Stack:
    if request.param == "adapter":
        return Stack(None, make_adapted(base, (2, 3), DATA, steps=2))
    return Stack(base, make_checkpoint(base, ("layers.1.", "lm_head"), DATA, steps=2))


def test_one_pass_gives_losses_exact_match_and_representations(stack: Stack) -> None:
    found = read(stack, DATA)
    prompts = [each.tokens[: each.prompt_length] for each in DATA]
    for side, said in (("base", "before"), ("tuned", "after")):
        model = stack.models[side]
        losses, exact = token_losses(model, DATA, stack.device)
        assert np.allclose(found.answers[f"loss_{said}"], losses, rtol=1e-9)
        assert list(found.answers[f"exact_{said}"]) == exact
        assert torch.allclose(found.states(side), represent_tokens(model, prompts), rtol=1e-6)
    assert list(found.answers["tokens"]) == [len(each.tokens) - each.prompt_length for each in DATA]


def test_the_readings_of_place_are_those_of_locate(stack: Stack) -> None:
    firsts = [each.tokens[each.prompt_length] for each in DATA]
    rows = {(row["reading"], row["layer"]): row["value"] for row in layer_rows(stack, read(stack, DATA), firsts, None)}
    located = locate_update(stack, DATA, readings=["one-layer-change", "answer-gain"]).table
    shared = [key for key in zip(located["reading"], located["layer"], strict=True) if key in rows]
    assert {reading for reading, _ in shared} == {
        "one-layer-change", "relative-change", "answer-gain", "answer-gain-increment"
    }  # fmt: skip
    expected = located.set_index(["reading", "layer"])["value"]
    assert np.allclose([rows[key] for key in shared], expected.loc[shared].astype(float), atol=1e-6)
    alike = [rows["cka-linear-debiased", layer] for layer in range(1, 5)]
    changed = [layer for layer in range(1, 5) if stack.changed[layer]]
    assert all(value == pytest.approx(1) for value in alike[: changed[0] - 1]) and min(alike) < 0.9999


def test_too_few_examples_have_rows_with_the_reason(stack: Stack) -> None:
    few = DATA[:3]
    rows = layer_rows(stack, read(stack, few), [each.tokens[each.prompt_length] for each in few], None)
    reasons = {str(row["reason"]) for row in rows if row["value"] is None}
    assert reasons == {"only 3 prompts; 4 are needed", "only 3 finite prompts; 4 are needed"}
    assert all(row["value"] is None or row["reason"] == "no update at this layer" for row in rows)


class _AsNumbered:
    """A format of prompts that everything fits and that keeps the places."""

    def encode(self, examples: Sequence[Example], _what: str, with_target: bool) -> list[Encoded]:
        return [Encoded([1, int(each.prompt)], 1, not with_target, place) for place, each in enumerate(examples)]


@pytest.mark.parametrize("has", [0, 1, 7, 10, 11, 19, 20, 29, 1000])
def test_examples_are_spread_over_the_whole_task(has: int) -> None:
    """Neither the first ones of a file that holds fewer than twice as many, nor never those at its end."""
    task = Task("a", "b", (), (), tuple(Example(str(place), "x") for place in range(has)))
    (found,) = task_examples([task], cast(Any, _AsNumbered()), 10)
    places = [each.tokens[1] for each in found.encoded]
    assert len(places) == found.chosen == min(has, 10) and places == sorted(set(places))
    gaps = np.diff([*places, has]) if places else np.array([1])
    assert gaps.max() - gaps.min() <= 1 and places[:1] == [0][: min(has, 1)]
