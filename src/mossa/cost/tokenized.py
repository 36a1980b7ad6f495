"""Examples as tokens, each encoded once, however many units, mixtures and smaller studies need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mossa.models.prompts import Encoded, PromptFormat
from mossa.tasks.task import Example


@dataclass
class Tokenized:
    """Encoded examples by object identity: tasks, mixtures and cut-down tasks share the same objects."""

    form: PromptFormat
    _known: dict[tuple[int, bool], tuple[Example, Encoded | None]] = field(
        default_factory=dict[tuple[int, bool], tuple[Example, Encoded | None]]
    )

    def of(self, examples: Sequence[Example], what: str, with_target: bool) -> list[Encoded]:
        """Return the examples that fit; with targets only their lengths are kept, because a million of them would fill
        the memory.

        Raises `DataError`, naming `what`, as encoding them does.
        """
        new = [example for example in examples if (id(example), with_target) not in self._known]
        fitting = {encoded.index: encoded for encoded in self.form.encode(new, what, with_target)}
        for index, example in enumerate(new):
            encoded = fitting.get(index)
            if encoded and with_target:
                encoded = replace(encoded, tokens=range(len(encoded.tokens)))
            self._known[id(example), with_target] = (example, encoded)  # the example is kept, so its id stays its own
        found = (self._known[id(example), with_target][1] for example in examples)
        return [encoded for encoded in found if encoded]
