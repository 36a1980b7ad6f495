"""A Markdown page as a reader follows it: what is typed, and what is shown to come of it."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

DECIMAL = re.compile(r"-?\d*\.\d+")
TOLERANCE = 0.02  # processors sum in another order, and training carries that into the second decimal at most


@dataclass(frozen=True)
class Block:
    """A shell or Python block of a page, its line there, and the output shown right after it (None if none is)."""

    language: str
    code: str
    line: int
    shown: str | None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that a reader runs, in order.

    Those are the ones marked `bash` and `python`; one marked `text` right after it is what it prints.
    """
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    found: list[Block] = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "fence" and token.info in ("bash", "python") and token.map:
            is_output = following is not None and following.type == "fence" and following.info == "text"
            found.append(Block(token.info, token.content, token.map[0] + 1, following.content if is_output else None))
    return found


def follow(page: Path, folder: Path) -> None:
    """Run every block of a page in `folder`, and fail where one fails or prints something else than is shown."""
    session: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        run = _run_shell(block.code, folder) if block.language == "bash" else _run_python(block.code, folder, session)
        if block.shown is not None:
            missing = first_difference(block.shown, run)
            assert missing is None, f"{page.name}, line {block.line}: {missing!r} is not in\n{run}"


def first_difference(shown: str, printed: str) -> str | None:
    """Return the first shown line that was not printed there, or None.

    `…` stands for anything: on a line of its own for lines, inside a line for a part of it. Decimals may differ by
    TOLERANCE, space by its amount, rules by their length.
    """
    rest = [line for line in printed.splitlines() if line.strip()]
    skipping = False
    for line in (line for line in shown.splitlines() if line.strip()):
        if line.strip() == "…":
            skipping = True
            continue
        places = range(len(rest)) if skipping else range(min(1, len(rest)))
        place = next((place for place in places if _same(line, rest[place])), None)
        if place is None:
            return line
        rest, skipping = rest[place + 1 :], False
    return None if skipping or not rest else f"nothing, where it says: {rest[0]}"


def _same(shown: str, printed: str) -> bool:
    pattern, numbers = "", []
    for part in re.split(r"(…|─+|-?\d*\.\d+|\s+)", shown.strip()):
        if part == "…":
            pattern += ".*?"
        elif "─" in part:  # a rule is as long as its table is wide
            pattern += "─+"
        elif DECIMAL.fullmatch(part):
            pattern += r"(-?\d*\.\d+)"
            numbers.append(float(part))
        else:
            pattern += r"\s+" if part.isspace() else re.escape(part)
    found = re.fullmatch(pattern, printed.strip())
    return found is not None and all(
        abs(float(number) - expected) <= TOLERANCE for number, expected in zip(found.groups(), numbers, strict=True)
    )


def _run_shell(code: str, folder: Path) -> str:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}"
    return done.stdout


def _run_python(code: str, folder: Path, session: dict[str, Any]) -> str:
    """Run a block as a notebook does: a last line that is an expression is shown."""
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), _working_in(folder):
        exec(compile(ast.Module(body, []), "<tutorial>", "exec"), session)
        value = eval(compile(ast.Expression(last.value), "<tutorial>", "eval"), session) if last else None
        if value is not None:
            print(value)
    return printed.getvalue()


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
