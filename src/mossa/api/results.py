"""What a study found: its tables, its sections, its figures, its answers, its report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from mossa.api import Text
from mossa.api.tables import Tables
from mossa.errors import DataError, choices
from mossa.store.record import Record, read_record
from mossa.store.tables import gather
from mossa.study.schema import StudySettings

if TYPE_CHECKING:
    from mossa.analysis import Findings
    from mossa.api.plots import Plots
    from mossa.api.sections import Sections


class Results(Tables):
    """The results of a run, finished or not: one tidy DataFrame per table, and what follows from them.

    A table that is absent raises `DataError` with the reason and the way to get it; `tables` holds those there are.
    """

    def __init__(self, record: Record, tables: Mapping[str, pd.DataFrame] | None = None) -> None:
        self.record = record
        if tables is None:
            tables = gather(record.run, record.units, record.fingerprints)
        self.status = record.status()
        self.tables = dict(tables)
        self._read: dict[str | None, Findings] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Return the results in a run folder, finished or not, such as runs/my-study; needs no base and no data.

        Raises `RunFolderError` if it is not a run folder.
        """
        return cls(read_record(Path(folder)))

    @property
    def settings(self) -> StudySettings:
        """Return the settings of the study as they were run."""
        return self.record.study

    @property
    def folder(self) -> Path:
        """Return the run folder."""
        return self.record.run.path

    @property
    def models(self) -> list[str]:
        """Return the names of the experimental models, as the study has them."""
        return list(self.settings.experimental)

    @property
    def failed(self) -> dict[str, str]:
        """Return the reason of every unit that failed."""
        units = self.record.units
        return {units[name].title: each.why for name, each in self.status.items() if each.state == "failed"}

    @property
    def missing(self) -> tuple[str, ...]:
        """Return sentences about what the analysis left out or could not answer, and why."""
        return self.findings().missing

    @property
    def answers(self) -> Text:
        """Return the research questions, their answers in sentences, and what cannot be said and why.

        `findings().answers` has the answers as pairs of question and sentence.
        """
        from mossa.analysis.answers import by_question

        parts = by_question(self.findings().answers)
        parts += [("What this study cannot say, and why", list(self.missing))] if self.missing else []
        return Text("\n\n".join("\n".join([question, *(f"* {each}" for each in found)]) for question, found in parts))

    def findings(self, estimator: str | None = None) -> Findings:
        """Return every table of the analysis (docs/reference/analysis.md), read by one estimator, by default debiased
        CKA.

        Raises `DataError` if the study did not measure that estimator.
        """
        from mossa.analysis import analyse
        from mossa.analysis.controls import bar_of

        if estimator not in self._read:
            self._read[estimator] = analyse(self.tables, estimator=estimator, bar=bar_of(self.record.study))
        return self._read[estimator]

    def sections(
        self,
        model: str | None = None,
        estimator: str | None = None,
        population: Literal["all", "seen", "held_out"] | None = None,
    ) -> Sections:
        """Return the sections of a tuned model; the model may be left out if there is only one.

        `population`: `all` tasks, those it has `seen` in tuning or those `held_out`; default: those it was tuned on.
        Raises `DataError` if there is no such model, estimator or population, or it was not compared with the base.
        """
        from mossa.api.sections import Sections
        from mossa.report.select import tuned_on

        findings = self.findings(estimator)
        if findings.estimator is None:
            self.similarity  # noqa: B018  # raises with the reason
        table = findings.sections[findings.sections["estimator"].eq(findings.estimator or "")]
        there = list(dict.fromkeys(table["experimental"]))
        name = there[0] if model is None and len(there) == 1 else model or ""
        if name not in there:
            which = f"There is no tuned model {name!r}" if name else "Name the model: there is not exactly one"
            raise DataError(f"{which} that was compared with the base. {choices(name, there)}")
        rows = table[table["experimental"].eq(name)]
        chosen = population or tuned_on(rows)
        if chosen not in set(rows["population"]):
            raise DataError(f"{name} has no population {chosen!r}. {choices(chosen, rows['population'])}")
        first = int(findings.curves["layer"].min())
        return Sections.of(rows[rows["population"].eq(chosen)].iloc[0], first)

    @cached_property
    def plot(self) -> Plots:
        """Return the figures of the report, one method each: `results.plot.layers()`."""
        from mossa.api.plots import Plots

        return Plots(self)

    def report(self, folder: str | Path, format: Literal["html", "md"] = "html") -> Path:
        """Write the report with its figures and tables into `folder` and return the page to open.

        Raises `DataError` if nothing was compared.
        """
        from mossa.run.publish import draw_report

        return draw_report(self.record, self.tables, Path(folder), format).page

    def __repr__(self) -> str:
        return "\n".join(f"{label:10} {text}" for label, text in self._facts())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in self._facts())
        return f"<table>{''.join(rows)}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        """Return what the results are, as pairs of a label and a short text."""
        done = sum(each.state == "done" for each in self.status.values())
        facts = [
            ("study", f"{self.settings.name}, {done} of {len(self.status)} units done, in {self.folder}"),
            ("base", self.settings.base.model),
            ("models", ", ".join(self.models)),
        ]
        similarity = self.tables.get("similarity")
        if similarity is not None:
            tasks, clusters = similarity["task"].nunique(), similarity["cluster"].nunique()
            layers, prompts = similarity["layer"].max(), _span(similarity["n"])
            text = f"{tasks} in {clusters} clusters, {layers} layers, {prompts} prompts each"
            facts += [("tasks", text), ("estimators", ", ".join(dict.fromkeys(similarity["estimator"])))]
        held = ", ".join(f"{name} ({len(table):,})" for name, table in self.tables.items())
        facts.append(("tables", f"{held or 'none yet'}, rows in brackets" if held else "none yet"))
        facts += [("failed", f"{title}: {why}") for title, why in self.failed.items()]
        return facts


def _span(counts: pd.Series[int]) -> str:
    """Return a number, or the two ends where there are several."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
