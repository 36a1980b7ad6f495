"""What a run could not answer, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mossa.analysis.controls import failed
from mossa.analysis.over_tasks import FEWEST

if TYPE_CHECKING:
    from mossa.analysis.findings import Findings


def missing(findings: Findings) -> tuple[str, ...]:
    """Return one sentence for everything that was left out, could not be judged or could not be answered."""
    return (*_similarities(findings), *_controls(findings), *_questions(findings), *_rest(findings))


def _similarities(findings: Findings) -> Iterator[str]:
    curves = findings.curves
    if curves.empty:
        yield "There are no similarities, so none of the three questions has an answer."
        return
    own = curves[curves["relation"] == "control"]
    if findings.baseline not in set(own["experimental"]):
        names = ", ".join(sorted(own["experimental"].unique())) or "none"
        yield (
            f"The base {findings.baseline!r} was not compared with the controls (only: {names}), so there is no answer "
            "to what it had encoded, nor differences from it, nor sections."
        )
    if findings.estimator is None:
        yield "All similarities are of changes from the base; there is none of the representations themselves."
    undefined = own[own["value"].isna()]
    if len(undefined):
        reasons = undefined["reason"].value_counts().items()
        listed = "; ".join(f"{count} because {reason}" for reason, count in reasons)
        yield f"{len(undefined)} of {len(own)} similarities to the controls are undefined: {listed}."
    for column in ("task", "cluster", "layer"):
        if own[column].nunique() == 1:
            yield f"There is only one {column} ({own[column].iloc[0]}), so nothing can be compared between {column}s."


def _controls(findings: Findings) -> Iterator[str]:
    controls = findings.controls
    poor = controls[failed(controls)]
    if len(poor):
        yield (
            f"{len(poor)} of {len(controls)} controls did not learn their task and are left out of every reading: "
            f"{', '.join(poor['reference'])}. The bar: {poor['rule'].iloc[0]}."
        )
    for model, tasks in findings.tuned[failed(findings.tuned)].groupby("model"):
        yield (
            f"{model} did not learn {len(tasks)} of {(findings.tuned['model'] == model).sum()} tasks by the bar of the "
            f"specialists ({', '.join(tasks['task'])}); readings of it on these tasks are marked, and say little "
            "about learning."
        )
    unknown = controls[controls["learned"].isna()]
    if len(unknown):
        reasons = "; ".join(f"{count}: {reason}" for reason, count in unknown["reason"].value_counts().items())
        yield f"Whether {len(unknown)} of {len(controls)} controls learned is not known, so they are kept ({reasons})."


def _questions(findings: Findings) -> Iterator[str]:
    curves = findings.curves
    if curves.empty:
        return
    experimentals = [name for name in curves["experimental"].unique() if name not in (findings.baseline, "control")]
    if not experimentals:
        yield "There is no experimental model besides the base, so what instruction tuning changed has no answer."
    elif not (findings.change["population"] == "held_out").any():
        yield "No task was held out from an experimental model, so unseen tasks have no answer."
    if not (curves["relation"] == "ceiling").any():
        yield (
            "No task has two controls that differ in their seed, so it is not known how far two controls agree, and "
            "similarities are read as they are."
        )
    if experimentals and findings.dose_readings["agree"].isna().all():
        reasons = findings.dose_readings["reason"].dropna().unique()
        why = f": {'; '.join(reasons)}" if len(reasons) else ""
        yield f"Whether changes from the base say the same as similarities cannot be told{why}."
    few = findings.change["clusters"].dropna()
    if experimentals and len(few) and few.max() < FEWEST:
        yield (
            f"Tests over tasks assume independent tasks. Tasks of one cluster are not, and {few.max():.0f} clusters "
            f"are too few for a test over clusters ({FEWEST} are needed), so p values may be too small."
        )


def _rest(findings: Findings) -> Iterator[str]:
    if findings.dimensionality.empty:
        yield "There is no spectrum table, so dimensionality (figure 5) is not shown."
    wanted = {"flesch_kincaid": "readability", "train": "training-data size", "steps": "dose", "control_loss": "loss"}
    there = set(findings.correlates["correlate"])
    absent = [words for name, words in wanted.items() if name not in there]
    if absent:
        yield f"No value for {', '.join(absent)}, so correlations with it (figure 6) are not shown."
    pictures = {
        "projection": "the picture of representations (figure 4)",
        "separability": "how well clusters, tasks and templates are told apart",
        "affinity": "which tasks share representations",
        "layer_map": "which layers of the models resemble each other",
    }
    for name, words in pictures.items():
        if getattr(findings, name).empty:
            yield f"There is no {name} table, so {words} is not shown."
