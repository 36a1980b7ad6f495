"""What `mossa` offers: every name is there, documented and light to import; two models compared from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mossa
from mossa.errors import DataError
from tests.run.command import Ran
from tests.small import examples

LIGHT = """
import sys, mossa
names = dir(mossa)
mossa.integrations, mossa.MossaError
heavy = {"torch", "transformers", "pandas", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
assert "cka" in names and "Study" in names
"""


def test_importing_mossa_and_naming_what_it_has_is_light() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


@pytest.mark.parametrize("name", [name for name in mossa.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(mossa, name)
    first = (found.__doc__ or "").strip().splitlines()[0]
    assert first.endswith((".", ",", ";")) or len(first) > 60, first
    pages = Path(__file__).parents[2] / "docs"
    assert any(f"mossa.{name}" in page.read_text() for page in pages.rglob("*.md")), name


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        mossa.studdy  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Layerwise'"):
        mossa.integrations.Layerwise  # noqa: B018


def test_two_models_are_compared_on_texts(finished: tuple[Path, Ran], settings: dict) -> None:
    trained = finished[0] / "runs/small/units/train"
    texts = [example["inputs"] for example in examples("first", 8)]
    said: list[str] = []
    adapters = (trained / "sft/adapter", trained / "control-first-seed0/adapter")
    pair = mossa.compare(settings["base"]["model"], *adapters, texts, device="cpu", say=said.append)
    assert pair.prompts == 8 and len(pair.table) == 3 * 2 and len(said) == 3
    shown = repr(pair)
    assert (
        f"{pair.table['experimental'].iloc[0]:.3f}" in shown
        and "8 prompts, 0 repeated and left out, 0 skipped" in shown
    )
    with pytest.raises(DataError, match="needs at least 4"):
        mossa.compare(settings["base"]["model"], *adapters, texts[:3], device="cpu")
