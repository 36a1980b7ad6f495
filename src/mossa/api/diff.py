"""What a fine-tune changed, task by task and layer by layer, without training anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from mossa.analysis.place import over_tasks
from mossa.analysis.wording import count, listed
from mossa.errors import DataError, noting

if TYPE_CHECKING:
    from mossa.paired.inputs import TaskExamples
    from mossa.place import Stack

VERDICTS = ("lost", "won", "unchanged", "not decidable")


@dataclass(frozen=True, repr=False)
class Diff:
    """What became of every task, where the update acts, and what else moved.

    `tasks`: one row per (model, task) with its verdict. `layers`: one row per (model, task, reading, layer). `answers`:
    one row per (model, task, example), before and after. `about`: models, settings and counts. The models are in the
    order of training, the tuned one last. Columns: docs/reference/diff.md.
    """

    tasks: pd.DataFrame
    layers: pd.DataFrame
    answers: pd.DataFrame
    about: dict[str, Any]

    @property
    def final(self) -> pd.DataFrame:
        """Return the rows of `tasks` of the tuned model, lost tasks first."""
        rows = self.tasks[self.tasks["model"].eq(self.about["models"][-1])]
        order = rows["verdict"].map(VERDICTS.index)
        return rows.assign(order=order).sort_values(["order", "task"]).drop(columns="order").reset_index(drop=True)

    def named(self, verdict: str) -> list[str]:
        """Return the tasks of the tuned model that have this verdict: lost, won, unchanged or not decidable."""
        return list(self.final.loc[self.final["verdict"].eq(verdict), "task"])

    @property
    def medians(self) -> pd.DataFrame:
        """Return the median over tasks per (model, reading, layer), with its 95 % interval from 6 tasks on."""
        return over_tasks(self.layers.assign(experimental=self.layers["model"], held_out=False)).rename(
            columns={"experimental": "model"}
        )

    @property
    def forgotten(self) -> pd.DataFrame:
        """Return the tasks that the tuned model lost, and since which model they were lost, the first one first."""
        from mossa.paired.verdicts import forgotten

        return forgotten(self.tasks)

    @property
    def sentence(self) -> str:
        """Return what happened to the tasks, in two sentences."""
        counts = {verdict: len(self.named(verdict)) for verdict in VERDICTS}
        said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
        lost = self.named("lost")
        which = f" Lost: {listed(lost, most=10)}." if lost else ""
        return f"Of {count(len(self.final), 'task')}: {said}.{which}"

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the single answers, as JSON takes it: null where something is missing."""
        tables = {"tasks": self.tasks, "forgotten": self.forgotten, "layers": self.medians, "by_task": self.layers}
        plain = {
            name: json.loads(table.to_json(orient="records", double_precision=15)) for name, table in tables.items()
        }
        verdicts = {verdict: self.named(verdict) for verdict in VERDICTS}
        return {**self.about, "verdicts": verdicts, **plain}

    def write(self, folder: str | Path) -> Path:
        """Write `diff.json`, `answers.csv` and the page `index.html` to a folder; return the page."""
        from mossa.report.page.diff import Compared, render_diff

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "diff.json").write_text(json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        self.answers.to_csv(folder / "answers.csv", index=False)
        page = folder / "index.html"
        tables = (self.final, self.tasks, self.layers, self.medians, self.forgotten)
        page.write_text(render_diff(Compared(*tables, self.about, self.sentence)), encoding="utf-8", newline="\n")
        return page

    def __repr__(self) -> str:
        return self.sentence


def diff(
    base: str | Path,
    tuned: str | Path,
    tasks: str | Path,
    *,
    also: Iterable[str | Path] = (),
    fields: Mapping[str, str] | None = None,
    examples: int = 100,
    template: str = "auto",
    system: str | None = None,
    cutoff: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    device: str = "auto",
    say: Callable[[str], None] | None = None,
) -> Diff:
    """Return what tuning changed: which tasks were won and lost, how similar the layers are, and where the update acts.

    `base`, `tuned` and `also` (checkpoints on the way from one to the other, in the order of training) are folders, hub
    ids, GGUF files, `tinyflan:NAME` or adapters. `tasks`: a file or folder of data in any format, hub:owner/name or a
    collection, whose test split is used: `examples` of each task, spread evenly. `fields`: which
    column is what, and `template`, `system`, `cutoff` as in a study. `say` is called with lines on what is loaded and
    left out. Raises `MossaError` for models that do not belong together and data that cannot be read.
    """
    from mossa.paired.inputs import PairLoader, task_examples
    from mossa.paired.verdicts import judge
    from mossa.run.devices import find_device
    from mossa.study import checked
    from mossa.study.schema import Prompt, Tasks
    from mossa.tasks.collections import load_tasks, remarks

    started, tell = time.monotonic(), say or (lambda _line: None)
    if examples < 1:
        raise DataError(f"examples is {examples}; give how many of each task are used, such as 100.")
    form = checked(Prompt, template=template, system=system, cutoff=cutoff)
    sizes = {"train": 1, "validation": 1, "test": max(examples, 4)}
    found = load_tasks(checked(Tasks, source=str(tasks), fields=fields, **sizes), whole=True)
    for remark in remarks(found):
        tell(remark)
    models = _distinct([*also, tuned])
    with noting(tell):
        pair = PairLoader(str(base), dtype, find_device(device))
        given = list(task_examples(found, pair.loader.format(form), examples))
        unfit = [each.task.name for each in given if not each.encoded]
        given = [each for each in given if each.encoded]
        if not given:
            raise DataError(f"{tasks}: no example of any task fits the model. Raise the cutoff.")
        for name in unfit:
            tell(f"task {name!r} is left out: none of its examples fits the model")
        used, skipped = sum(len(each.encoded) for each in given), sum(each.chosen - len(each.encoded) for each in given)
        tell(f"{count(len(given), 'task')}, {count(used, 'example')}, {skipped} do not fit")
        parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        for model in models:
            tell(f"{base} and {model}")
            stack = pair.stack(model, "TUNED" if model == models[-1] else "--also")
            parts.append(_read_all(stack, given, model))
            del stack  # two models at a time, not three
    answers, layers = (pd.concat(each, ignore_index=True) for each in zip(*parts, strict=True))
    about = {
        "base": str(base), "models": models, "tasks_source": str(tasks), "examples": used, "do_not_fit": skipped,
        "tasks_left_out": unfit, "template": template, "dtype": dtype, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    return Diff(judge(answers), layers, answers, about)


def _distinct(models: Iterable[str | Path]) -> list[str]:
    """Return the names of the models in tables; raises `DataError` if one is given twice."""
    named: list[str] = []
    for model in map(str, models):
        if model in named:
            raise DataError(f"{model} is given twice; name every model once, TUNED not among --also.")
        named.append(model)
    return named


def _read_all(stack: Stack, given: list[TaskExamples], model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers and the rows per layer of one model on all tasks."""
    from mossa.paired.reading import layer_rows, read
    from mossa.place.estimates import COLUMNS

    prompts = [each.encoded[0].tokens[: each.encoded[0].prompt_length] for each in given]
    stack.check(prompts[:1])
    answers: list[pd.DataFrame] = []
    layers: list[pd.DataFrame] = []
    for each in given:
        reading = read(stack, each.encoded)
        key = {"model": model, "task": each.task.name, "cluster": each.task.cluster}
        answers.append(reading.answers.assign(**key))
        firsts = [example.tokens[example.prompt_length] for example in each.encoded]
        rows = layer_rows(stack, reading, firsts, each.templates)
        layers.append(pd.DataFrame(rows, columns=COLUMNS).assign(**key))
    return pd.concat(answers, ignore_index=True), pd.concat(layers, ignore_index=True)
