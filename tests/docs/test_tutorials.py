"""Every tutorial, and the page on how to add something, is followed to the letter in an empty folder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from mossa.report.figure_list import FIGURES
from mossa.run.engines.registry import ENGINES
from mossa.similarity import ESTIMATORS
from mossa.steps.steps import STEPS
from mossa.tasks.collections import COLLECTIONS
from tests.docs.page import follow

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
STARTS = [
    # Those in one row go on where the one before ended.
    ["first-study", "reading-the-report"],
    ["your-own-tasks"],
    ["data-as-it-is"],
    ["what-a-fine-tune-changed"],
    ["your-own-model"],
    ["from-a-pair-to-an-answer"],
]


@pytest.mark.parametrize("names", STARTS, ids=lambda names: names[0])
def test_a_tutorial_does_what_it_says(names: list[str], tmp_path: Path) -> None:
    for name in names:
        follow(TUTORIALS / f"{name}.md", tmp_path)


@pytest.fixture
def registries() -> Iterator[list[dict[str, Any]]]:
    """Return what one can add to; what was added is gone afterwards."""
    found: list[dict[str, Any]] = [ESTIMATORS, COLLECTIONS, ENGINES]
    before = [dict(registry) for registry in (*found, STEPS)]
    yield found
    for registry, kept in zip((*found, STEPS), before, strict=True):
        registry.clear()
        registry.update(kept)
    FIGURES[:] = [figure for figure in FIGURES if figure.__module__ == "mossa.report.figure_list"]


def test_what_one_can_add_works_as_it_is_told(tmp_path: Path, registries: list[dict[str, Any]]) -> None:
    sizes = [len(registry) for registry in registries]
    follow(TUTORIALS.parent / "how-to" / "extend.md", tmp_path)
    assert [len(registry) for registry in registries] == [size + 1 for size in sizes]


def test_no_tutorial_is_forgotten() -> None:
    assert sorted(chain(*STARTS)) == sorted(page.stem for page in TUTORIALS.glob("*.md"))
