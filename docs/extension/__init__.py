"""A Sphinx extension: reference pages made from the code, so that they cannot go stale.

In a Markdown page, ```` ```{made-from-code} study-fields ```` puts what `study_fields.lines` returns in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from . import commands, estimators, study_fields
from .docstrings import literal_backticks

PAGES: dict[str, Callable[[], Sequence[str]]] = {
    "commands": commands.lines,
    "estimators": estimators.lines,
    "study-fields": study_fields.lines,
}


class MadeFromCode(SphinxDirective):
    """Put Markdown made from the code in the place of this directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the Markdown that the named function returns."""
        name = self.arguments[0]
        made = nodes.Element()
        self.state.nested_parse(StringList(list(PAGES[name]()), source=name), self.content_offset, made, match_titles=1)
        return made.children


def setup(app: Any) -> dict[str, bool]:
    """Register the directive, and make docstrings fit for Sphinx."""
    app.add_directive("made-from-code", MadeFromCode)
    app.connect("autodoc-process-docstring", lambda *given: literal_backticks(given[-1]))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
