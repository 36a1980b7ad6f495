"""Where a tuned model's update acts, layer by layer: for models in memory, or by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from mossa.analysis.place import say_place
from mossa.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mossa.place import Located


@dataclass(frozen=True, repr=False)
class Place:
    """Where an update acts. `table`: one row per (layer, reading), layers counted from 1; a larger value means a larger
    contribution.

    Columns: `layer` (0 stands for embeddings, final norm and head, if they were tuned), `reading`, `value`,
    `standard_error` over prompts, 95 % interval `low` to `high`, `n` prompts, `reason` why there is no value or why it
    is 0. `gain`: the tuned model's over its base's (nats per target token; null without targets), `sufficient`: first
    and last of the smallest window of layers whose update alone gives 90 % of it, `necessary`: of the smallest without
    which at most 10 % is left.
    """

    table: pd.DataFrame
    gain: float | None
    sufficient: tuple[int, int] | None
    necessary: tuple[int, int] | None

    @classmethod
    def of(cls, found: Located) -> Place:
        """Return the result of `mossa.place` as an object."""
        gain = found.gain.value if found.gain else None
        return cls(found.table, gain, found.sufficient, found.necessary)

    @property
    def sentence(self) -> str:
        """Return what the readings say, in a few sentences."""
        return say_place(self.table, self.gain, self.sufficient, self.necessary)

    def plot(self) -> Figure:
        """Draw every reading per layer with its interval."""
        from mossa.report.figures.lines import place
        from mossa.report.figures.style import root

        return root(place(self.table)[0])

    def __repr__(self) -> str:
        return self.sentence


def locate(
    base: Any,
    tuned: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    targets: Sequence[str] | None = None,
    *,
    templates: Sequence[str] | None = None,
    readings: Sequence[str] | None = None,
    parts: bool = False,
    window: int = 1,
    null: bool = False,
    template: str = "auto",
    system: str | None = None,
    cutoff: int | None = None,
    too_long: Literal["refuse", "shorten-start", "shorten-middle"] = "refuse",
) -> Place:
    """Return where the update that turns `base` into `tuned` acts, by readings of single layers.

    `tuned`: a model with an adapter of PEFT on it (then `base` may be None, or the model it was put on), or a whole
    model tuned from `base`. Neither is changed. `readings`: of `one-layer-change`, `answer-gain`, `graft` and `curves`
    (a graft without Shapley values, for deep models); default: the first three, or one without `targets`. `templates`:
    one label per prompt, to compare within templates. `parts`, `window`, `null`: see docs/explanation/place.md, others
    as in `represent`. Raises `ModelError` for models of different architectures, `DataError` for prompts and readings
    that cannot be used.
    """
    from mossa.place import Stack, locate_update
    from mossa.representations.represent import encode_examples, evaluation_mode, uncompiled

    if not prompts:
        raise DataError("prompts is empty; give some texts.")
    for name, given in (("targets", targets), ("templates", templates)):
        if given is not None and (isinstance(given, str) or len(given) != len(prompts)):
            raise DataError(f"{name}: give a list with one text for each of the {len(prompts)} prompts.")
    base, tuned = uncompiled(base), uncompiled(tuned)
    with ExitStack() as still:
        for model in (base, tuned):
            if model is not None:
                still.enter_context(evaluation_mode(model))
        examples = encode_examples(tuned, tokenizer, prompts, targets, template, system, cutoff, too_long)
        found = locate_update(Stack(base, tuned), examples, templates, readings, parts=parts, window=window, null=null)
    return Place.of(found)


def locate_files(
    base: str,
    tuned: str,
    tasks: str | Path,
    *,
    readings: Sequence[str] | None = None,
    parts: bool = False,
    window: int = 1,
    null: bool = False,
    examples: int = 64,
    template: str = "auto",
    system: str | None = None,
    cutoff: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    device: str = "auto",
    say: Callable[[str], None] | None = None,
) -> dict[str, Place]:
    """Return by task where an adapter or a checkpoint acts: `locate` for models and tasks by their names.

    `base`, `tuned`: folders, hub ids, GGUF files or adapters. `tasks`: a file of examples or a folder of such files; of
    each, `examples` are taken, spread evenly, no prompt twice. `say` is called with lines on how many examples were
    left out. Raises `MossaError` as `locate` does, and for files that cannot be read.
    """
    from mossa.paired.inputs import PairLoader, task_examples
    from mossa.place import locate_update
    from mossa.run.devices import find_device
    from mossa.study import checked
    from mossa.study.schema import Prompt
    from mossa.tasks.folder import load_parts, open_source

    tell = say or (lambda _line: None)
    if examples < 1:
        raise DataError(f"examples is {examples}; give how many of each task are used, such as 64.")
    if not Path(tasks).exists():
        raise DataError(
            f"--tasks {tasks}: there is no such file or folder. Give a file of examples, or a folder of such files."
        )
    found = load_parts(open_source(Path(tasks)), None, 0)
    form = checked(Prompt, template=template, system=system, cutoff=cutoff)
    pair = PairLoader(base, dtype, find_device(device), "--base")
    stack = pair.stack(tuned, "--tuned")
    places: dict[str, Place] = {}
    for given in task_examples(found, pair.loader.format(form), examples):
        name = given.task.name
        if not given.encoded:
            raise DataError(f"task {name!r}: none of its examples fits the model. Raise the cutoff.")
        tell(f"{name}: {given.counted}")
        located = locate_update(stack, given.encoded, given.templates, readings, parts=parts, window=window, null=null)
        places[name] = Place.of(located)
    return places


def table_of(places: dict[str, Place]) -> pd.DataFrame:
    """Return the tables of all tasks as one, with the column `task` in front."""
    parts = [place.table.assign(task=name) for name, place in places.items()]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["task", *(column for column in joined if column != "task")]]
