"""Every tutorial is followed to the letter, in an empty folder."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from tests.docs.page import follow

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
STARTS = [
    # Those in one row go on where the one before ended.
    ["first-study", "reading-the-report"],
    ["your-own-tasks"],
    ["your-own-model"],
    ["from-a-pair-to-an-answer"],
]


@pytest.mark.parametrize("names", STARTS, ids=lambda names: names[0])
def test_a_tutorial_does_what_it_says(names: list[str], tmp_path: Path) -> None:
    for name in names:
        follow(TUTORIALS / f"{name}.md", tmp_path)


def test_no_tutorial_is_forgotten() -> None:
    assert sorted(chain(*STARTS)) == sorted(page.stem for page in TUTORIALS.glob("*.md"))
