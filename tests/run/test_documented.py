"""The tables of a run have the columns that the documentation tells."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.run.command import Ran

DOCS = Path(__file__).parents[2] / "docs"


def documented_columns(page: str, table: str) -> set[str]:
    """Return the columns that a page gives in the Markdown table right after the paragraph that begins with `table`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    rows = re.search(rf"^`{table}`: [^\n]*\n(?:[^\n|]+\n)*\n((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    assert rows, f"{page} does not tell the columns of {table}"
    firsts = [row.split("|")[1] for row in rows[1].splitlines()[2:]]
    return set(re.findall(r"`(\w+)`", " ".join(firsts)))


@pytest.mark.parametrize(
    "table", ["similarity", "difference", "evaluation", "replies", "adapters", "spectrum", "tasks"]
)
def test_tables_have_the_columns_that_are_told(finished: tuple[Path, Ran], table: str) -> None:
    folder, _ = finished
    written = pd.read_parquet(folder / "runs" / "small" / "results" / f"{table}.parquet")
    assert set(written.columns) == documented_columns("project/architecture.md", table)
