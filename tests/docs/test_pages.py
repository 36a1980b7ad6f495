"""The documentation as it is built: no warning, nothing from a network, nothing left out."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
IN_STYLE = re.compile(r"""(?:@import|url\()\s*['"]?(?:https?:)?//""")


class Loads(HTMLParser):
    """Collects what a browser fetches by itself when it opens a page; links to be clicked are none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADED.get(tag, "")) or ""
        if address.startswith(("http:", "https:", "//")) and dict(attrs).get("rel") not in ("canonical", "search"):
            self.remote.append(address)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built pages; a warning of Sphinx is an error."""
    pytest.importorskip("furo", reason="the documentation needs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("html")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_load_nothing_from_a_network(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert not loads.remote, page
    for style in built.rglob("*.css"):
        assert not IN_STYLE.search(style.read_text(encoding="utf-8")), style


def test_the_reference_has_every_field_command_and_estimator(built: Path) -> None:
    from mossa.cli import app
    from mossa.similarity import ESTIMATORS
    from mossa.study.recipe import Lora, Until
    from mossa.study.schema import Similarity, Tasks

    study = (built / "reference" / "study.html").read_text(encoding="utf-8")
    for part in (Lora, Similarity, Tasks, Until):
        assert all(f">{field}<" in study for field in part.model_fields), part
    commands = (built / "reference" / "commands.html").read_text(encoding="utf-8")
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(verbs) > 7 and all(f'id="mossa-{verb}"' in commands for verb in verbs)
    estimators = (built / "reference" / "estimators.html").read_text(encoding="utf-8")
    assert all(f">{id}<" in estimators for id in ESTIMATORS)
