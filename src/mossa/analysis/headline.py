"""The headline of a run: a title with the result, three sentences with their evidence, and whether to believe them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from mossa.analysis.answers import before, changes, confounds, gain_words
from mossa.analysis.change import TUNED
from mossa.analysis.change_words import held_out_groups, moved, of_estimator, of_group, sections_of, tested
from mossa.analysis.controls import failed
from mossa.analysis.wording import count, layers_in_words, listed, number

if TYPE_CHECKING:
    from mossa.analysis.findings import Findings


HALF = 0.5  # of the test examples; a specialist that gets fewer right still counts, but the page says so


class Point(NamedTuple):
    """One sentence of the headline and the part of the page that shows its evidence."""

    sentence: str
    evidence: str


class Check(NamedTuple):
    """One line of "Can you believe it?": `state` is good, caution or unknown."""

    about: str
    state: str
    sentence: str


class Headline(NamedTuple):
    """What a reader in a hurry needs: a title, three sentences, and whether to believe them."""

    title: str
    points: tuple[Point, ...]
    checks: tuple[Check, ...]

    @property
    def caution(self) -> str:
        """The first check that asks for caution, else the first that is unknown, else an empty sentence."""
        ranked = sorted(self.checks, key=lambda check: ("caution", "unknown", "good").index(check.state))
        return ranked[0].sentence if ranked and ranked[0].state != "good" else ""


def headline(findings: Findings) -> Headline:
    """Return the headline of the findings; its numbers are those of their tables."""
    found = [
        *(Point(each, "change") for each in list(changes(findings, TUNED))[:1]),
        *(Point(each, "change") for group in held_out_groups(findings)[:1] for each in changes(findings, group)),
        *(Point(each, "performance") for each in _performance(findings)),
        *(Point(each, "encoded") for each in before(findings)),
    ]
    return Headline(_title(findings), tuple(found[:3]), tuple(checks(findings)))


def _performance(findings: Findings) -> Iterator[str]:
    """Say how exact match moved, for a model with held-out tasks if there is one, on both kinds of task."""
    table = findings.performance_summary.dropna(subset=["gain"]).sort_values("held_out", kind="stable")
    models = [*table.loc[table["held_out"], "experimental"], *table["experimental"]]
    rows = table[table["experimental"].isin(models[:1])].to_dict("records")
    if told := [f"{gain_words(row)} ({row['worse']} worse)" for row in rows]:
        yield f"{models[0]}: exact match {listed(told)}."


def _title(findings: Findings) -> str:
    """Return what tuning changed in the first tuned model that could be tested; the title of the figure covers all."""
    tuned = of_group(findings, TUNED)
    if not tuned:
        return next(before(findings), "No answer: see what this study cannot say, and why").removesuffix(".")
    changed = {
        model: sorted(int(layer) for way in moved(rows).values() for layer in way["layer"])
        for model, rows in tuned.items()
        if tested(rows).notna().any()
    }
    if not changed:
        return "Too few tasks to test what tuning changed"
    if not any(changed.values()):
        return "No change by tuning was detected in any layer"
    name, layers = next(iter(changed.items()))
    if not layers:
        return f"In {name} no change by tuning was detected in any layer"
    return f"Tuning changed {layers_in_words(layers)}{_gradual(findings, name)}{_carried(findings)}"


def _gradual(findings: Findings, model: str) -> str:
    """Return ", gradual from layer 3 to 9" where the rule finds no flats in a model's change."""
    rows = [row for row in sections_of(findings, model) if pd.notna(row["gradual_from"])]
    return "".join(f", gradual from layer {row['gradual_from']:.0f} to {row['gradual_to']:.0f}" for row in rows)


def _carried(findings: Findings) -> str:
    """Return whether models also moved towards the specialists on tasks held out of them."""
    own = [rows for group in held_out_groups(findings) for rows in of_group(findings, group).values()]
    if not own:
        return ""
    if all(tested(rows).isna().all() for rows in own):
        return "; too few held-out tasks to test whether it carried over"
    layers = sorted({int(layer) for rows in own for layer in moved(rows)["towards"]["layer"]})
    if not layers:
        return ", and no carry-over to held-out tasks was detected"
    return f", and on held-out tasks {layers_in_words(layers)}"


def checks(findings: Findings) -> Iterator[Check]:
    """Yield the evidence for and against the headline: controls, their agreement, confounds, a second reading."""
    yield _controls(findings.controls)
    yield _agreement(findings)
    if found := [sentence[:1].upper() + sentence[1:] for sentence in confounds(findings)]:
        yield Check("Confounds", "caution", f"Caution: {' '.join(found)}")
    else:
        enough = of_estimator(findings.encoded, findings)["value"].count() >= 5
        good = ("good", "Training steps, loss and distance do not correlate with the base's similarity.")
        yield Check("Confounds", *(good if enough else ("unknown", "Too few tasks to look for confounds.")))
    yield _second_reading(findings)


def _controls(controls: pd.DataFrame) -> Check:
    """Say how many specialists met their target, how many were stopped at a limit, and how many did not learn."""
    about = "Specialists"
    if controls.empty:
        return Check(about, "unknown", "Nothing is known about the specialists (controls).")
    poor, learned = controls[failed(controls)], controls[~failed(controls)]
    limited = controls[controls["stopped_because"].eq("limit")]
    met = int(controls["stopped_because"].eq("criterion").sum())
    parts = [f"{met} of {count(len(controls), 'specialist')} met their target" if met or len(limited)
             else f"{count(len(controls), 'specialist')} trained for the steps they were given"]  # fmt: skip
    if len(limited):
        span = _span(limited["accuracy"])
        parts.append(f"{len(limited)} stopped at the step limit{span} ({listed(limited['task'])})")
    elif not met:
        parts[0] += _span(controls["accuracy"])
    if len(poor):
        are = "are" if len(poor) > 1 else "is"
        parts.append(f"{len(poor)} did not learn and {are} left out of every reading ({listed(poor['task'])})")
    weak = learned[learned["accuracy"].lt(HALF)]
    if len(weak) and not (met or len(limited)):  # without its own target, "learned" only says that the loss fell
        few = "that count as learned get less than half of their test examples right"
        parts.append(f"{len(weak)} {few} ({listed(weak['task'])})")
    unknown = int(controls["learned"].isna().sum())
    if unknown:
        parts.append(f"it is not known whether {unknown} learned")
    good = len(parts) == 1 and not len(limited)
    return Check(about, "good" if good else "caution", f"{'; '.join(parts)}.")


def _span(accuracy: pd.Series) -> str:
    known = accuracy.dropna()
    if known.empty:
        return ""
    low, high = number(known.min()), number(known.max())
    return f" at {low if low == high else f'{low} to {high}'} exact match"


def _agreement(findings: Findings) -> Check:
    about, values = "Agreement of two specialists", of_estimator(findings.encoded, findings)["agreement"].dropna()
    if values.empty:
        why = (
            "Not measured, so how much of 1 is noise is not known; train two per task with `control: {seeds: [0, 1]}`."
        )
        return Check(about, "unknown", why)
    span = f"{count(len(values), 'task')}, from {number(values.min())} to {number(values.max())}"
    said = f"Two specialists of one task have a similarity of {number(values.median())} (median of {span})."
    return Check(about, "good", said)


def _second_reading(findings: Findings) -> Check:
    about, readings = "A second reading", findings.dose_readings[findings.dose_readings["agree"].notna()]
    if readings.empty:
        reason = next(iter(findings.dose_readings["reason"].dropna()), "no tuned model was compared with the base")
        return Check(about, "unknown", f"Not available: {reason}.")
    parts: list[str] = []
    for model, own in readings.groupby("experimental", sort=False):
        apart = own.loc[~own["agree"].astype(bool), "task"]
        names = f" (not: {listed(apart)})" if len(apart) else ""
        parts.append(f"for {model} on {len(own) - len(apart)} of {len(own)} tasks{names}")
    state = "good" if readings["agree"].astype(bool).mean() > 0.8 else "caution"
    return Check(about, state, f"Similarity of changes from the base says the same {listed(parts)}.")
