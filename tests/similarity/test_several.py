"""Several comparisons of the same arrays give what each gives alone, and each Gram matrix is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mossa.similarity import compare, products
from mossa.similarity.compare import Question, compare_several

IDS = ["cka-linear", "cka-linear-debiased", "cka-rbf", "cka-linear-within-debiased", "procrustes"]
SHIFTS = ["shift-cka-linear", "shift-cka-linear-debiased"]
QUESTIONS: list[Question] = [("c0", ("base", "sft")), ("c1", ("base", "sft")), ("c0", ("c1",))]
Array = np.ndarray[Any, Any]


def arrays(n: int = 60, d: int = 9) -> dict[str, Array]:
    random = np.random.default_rng(0)
    base = random.standard_normal((n, 3, d))
    return {
        name: base + size * random.standard_normal(base.shape) for size, name in enumerate(["base", "sft", "c0", "c1"])
    }


@pytest.mark.parametrize("broken", ["nothing", "one control", "a constant layer", "the base"])
@pytest.mark.parametrize("width", [9, 80])
def test_each_answer_is_that_of_the_question_alone(broken: str, width: int) -> None:
    given = arrays(d=width)
    if broken == "one control":
        given["c1"][3, 1, 0] = np.nan
    elif broken == "a constant layer":
        given["c0"][:, 2] = 1.0
    elif broken == "the base":
        given["base"][5, 0] = np.inf
    groups = [f"template{row % 4}" for row in range(60)]
    answers = compare_several(
        given, QUESTIONS, [*IDS, *SHIFTS], origin="base", groups=groups, baseline="base", non_finite="drop"
    )
    for (control, models), found in zip(QUESTIONS, answers, strict=True):
        alone = compare(
            {name: given[name] for name in models},
            given[control],
            [*IDS, *SHIFTS],
            groups=groups,
            origin=given["base"],
            baseline="base",
            non_finite="drop",
        )
        for ours, theirs in ((found.similarity, alone.similarity), (found.difference, alone.difference)):
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                assert one.keys() == other.keys()
                for key, value in one.items():
                    assert value == (
                        pytest.approx(other[key], rel=1e-9, abs=1e-12) if isinstance(value, float) else other[key]
                    )


def test_a_gram_matrix_is_computed_once_however_many_controls_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    monkeypatch.setattr(
        products, "gram", lambda X, *block, gram=products.gram: computed.append(len(X)) or gram(X, *block)
    )
    given = arrays(d=80)
    compare_several(given, QUESTIONS, IDS[:2], origin="base", baseline="base")
    together, _ = len(computed), computed.clear()
    for control, models in QUESTIONS:
        compare({name: given[name] for name in models}, given[control], IDS[:2], baseline="base")
    assert (together, len(computed)) == (3 * 4, 3 * (3 + 3 + 2))  # layers x arrays; layers x arrays of each question


@pytest.mark.parametrize("block", [7, 64, 4096])
def test_blocks_and_strips_of_any_size_give_the_same_sums(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU takes larger blocks than a CPU, and whole ones at once."""
    given = arrays(d=80)
    before = compare_several(given, QUESTIONS, IDS[:2], origin="base", baseline="base")
    monkeypatch.setattr(products, "_block", lambda _device: block)
    monkeypatch.setattr(products, "STRIP", block)
    after = compare_several(given, QUESTIONS, IDS[:2], origin="base", baseline="base")
    for one, other in zip(before, after, strict=True):
        for key in ("value", "standard_error"):
            assert [row[key] for row in other.similarity] == pytest.approx(
                [row[key] for row in one.similarity], rel=1e-10
            )
