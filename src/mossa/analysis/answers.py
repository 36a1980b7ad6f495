"""The three research questions, answered in sentences; every number in them is in a table of the findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mossa.analysis.change import TUNED
from mossa.analysis.change_words import change_words, held_out_groups, of_estimator, of_group, sections_of
from mossa.analysis.correlates import correlation
from mossa.analysis.over_tasks import FEWEST, interval
from mossa.analysis.wording import brackets, count, listed, number, signed

if TYPE_CHECKING:
    from mossa.analysis.findings import Findings

QUESTIONS = {
    "rq1": "What did the base already hold?",
    "rq2": "What did instruction tuning change?",
    "rq3": "What carries over to tasks it was never tuned on?",
}
UNANSWERED = "This study cannot say; the reasons are listed below."

RIVALS = {
    "base_loss": "tasks on which the base has a higher loss are {} like their specialists before tuning",
    "loss_drop": "specialists whose loss fell further are {} like the base",
    "steps": "specialists that trained longer are {} like the base",
    "distance": "specialists that moved further are {} like the base",
}
"""What a correlation of the base's similarity with each of its rivals says; the gap is for more or less."""


def by_question(answers: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return (question, sentences), every question in order; one without an answer says so."""
    pairs = list(answers)
    return [
        (question, [sentence for key, sentence in pairs if key == asked] or [UNANSWERED])
        for asked, question in QUESTIONS.items()
    ]


def answers(findings: Findings) -> tuple[tuple[str, str], ...]:
    """Return (question, sentence) pairs: `rq1` before, `rq2` after instruction tuning, `rq3` for unseen tasks.

    Brackets hold 95 % intervals over tasks. A question the run cannot answer has no sentence here and one in `missing`.
    """
    if not of_estimator(findings.curves, findings)["value"].notna().any():
        return ()
    said = {"rq1": before, "rq2": _after, "rq3": _on_unseen}
    return tuple((key, sentence) for key, say in said.items() for sentence in say(findings))


def before(findings: Findings) -> Iterator[str]:
    """Say how close the base is to the specialists, to which ones most and least, and what that correlates with."""
    table = of_estimator(findings.encoded, findings)
    read = table[table["value"].notna()].sort_values("value", ascending=False)
    if read.empty:
        return
    yield (
        f"Before tuning, the base is at {_median(read['value'])} of 1 to its specialists "
        f"({findings.estimator}, {count(len(read), 'task')}, median of means over layers)."
    )
    yield from _beside_agreement(read)
    yield from _beside_sham(read)
    if len(read) > 1:
        first, last = read.iloc[0], read.iloc[-1]
        yield (
            f"Most like its specialist: {first['task']} ({number(first['value'])}{_ranks(first)}); least: "
            f"{last['task']} ({number(last['value'])}{_ranks(last)})."
        )
    yield from _clusters(findings)
    yield from (f"Caution: {sentence}" for sentence in confounds(findings))


def _beside_agreement(read: pd.DataFrame) -> Iterator[str]:
    """Say how far two specialists of one task agree, and how close the base is relative to that."""
    agreement, shares = read["agreement"].dropna(), read["share"].dropna()
    if len(agreement):
        yield (
            f"Two specialists of one task agree to {_median(agreement)} ({count(len(agreement), 'task')}), "
            "so 1 cannot be expected."
        )
    if len(shares):
        without = len(read) - len(shares)
        rest = f"; {count(without, 'task')} without: too little agreement, or one specialist" if without else ""
        yield f"Relative to that agreement, the base is at {_median(shares)} of 1 ({count(len(shares), 'task')}{rest})."


def _beside_sham(read: pd.DataFrame) -> Iterator[str]:
    """Say how much closer the base is to a specialist than to its sham control, where there are any."""
    above = read["above_sham"].dropna()
    if above.empty:
        return
    middle = float(above.median())
    low, high = interval(above.to_numpy(float))
    ends = brackets(*((low, high) if middle > 0 else (-high, -low)))
    yield (
        f"The base is {'more' if middle > 0 else 'less'} like a task's specialist than like its sham control, trained "
        f"on shuffled answers (by {number(abs(middle))}{ends}, {count(len(above), 'task')}; by their own intervals "
        f"{(read['above_sham_low'] > 0).sum()} are above zero and {(read['above_sham_high'] < 0).sum()} below). A sham "
        "control is not a null: in a trial, bases were closer to it whether or not they had been taught the task."
    )


def _clusters(findings: Findings) -> Iterator[str]:
    table = of_estimator(findings.encoded_clusters, findings)
    known = table[table["value"].notna()].sort_values("rank")
    if len(known) < 2:
        return
    if known["rank"].isna().any():
        yield f"The {len(known)} clusters are not ranked: a median of fewer than {FEWEST} tasks has no interval."
        return
    words = (
        f"{row['cluster']} {number(row['value'])}{brackets(row['low'], row['high'])}" for _, row in known.iterrows()
    )
    yield f"Clusters by the median of their tasks: {listed(words, most=len(known))}."


def confounds(findings: Findings) -> Iterator[str]:
    """Say what correlates over tasks with the closeness of the base, so that nobody mistakes one for the other."""
    read = of_estimator(findings.encoded, findings)
    for name, says in RIVALS.items():
        pair = read[["value", name]].dropna().to_numpy(float)
        found = correlation(pair[:, 0], pair[:, 1], "spearman")
        if found["reason"] is None:
            r, low, high = (float(str(found[key])) for key in ("correlation", "low", "high"))
            if not low <= 0 <= high:
                more = says.format("more" if r > 0 else "less")
                yield f"{more} (rank correlation {signed(r)}{brackets(low, high)})."


def _after(findings: Findings) -> Iterator[str]:
    yield from changes(findings, TUNED)
    for model in findings.common_change["experimental"].unique():
        yield from _sections(findings, model)
    readings = findings.dose_readings
    for model, own in readings[readings["agree"].notna()].groupby("experimental", sort=False):
        apart = int((~own["agree"].astype(bool)).sum())
        yield (
            f"{model}: similarity to the specialists and similarity of changes from the base disagree on {apart} of "
            f"{count(len(own), 'task')} where both have a direction. Both depend on how "
            "long each model was trained."
        )
    yield from helped(findings, held_out=False)


def _on_unseen(findings: Findings) -> Iterator[str]:
    for group in held_out_groups(findings):
        yield from changes(findings, group)
    table = of_estimator(findings.unseen_overall, findings)  # beside the base, and beside models that saw the tasks
    for _, row in table[table["median"].notna()].iterrows():
        other = "the base" if row["other"] == findings.baseline else f"{row['other']}, which saw them"
        yield (
            f"{row['experimental']} minus {other}, on the same {count(int(row['tasks']), 'held-out task')}: median "
            f"{signed(row['median'])}{brackets(row['low'], row['high'])} (mean over layers{_p(row['p_value'])})"
            f"{_gap(row)}."
        )
    yield from helped(findings, held_out=True)


def _gap(row: pd.Series) -> str:
    if pd.isna(row["gap"]):
        return ""
    return (
        f"; that is {signed(row['gap'])}{brackets(row['gap_low'], row['gap_high'])} from the same on "
        f"{count(int(row['seen_tasks']), 'task')} it saw{_p(row['gap_p_value'])}"
    )


def _p(value: float) -> str:
    return "" if pd.isna(value) else f", p = {value:.2g}"


def changes(findings: Findings, group: str) -> Iterator[str]:
    """Say of every tuned model in which layers it moved, on one group of tasks that is the same for all models."""
    for model, own in of_group(findings, group).items():
        tasks = count(int(own["tasks"].max()), "task")
        where = f"on {tasks} that all tuned models saw" if group == TUNED else f"on {tasks} held out of it"
        yield f"{model}, {where}, {change_words(own)}"


def _sections(findings: Findings, model: object) -> Iterator[str]:
    """Say which sections the rule finds on the tasks the model was tuned on, or why it finds none."""
    for row in sections_of(findings, str(model)):
        why = "" if pd.isna(row["reason"]) else str(row["reason"])
        named = [
            f"{name} to layer {row[f'{name}_end']:.0f} [{row[f'{name}_end_low']:.0f}, {row[f'{name}_end_high']:.0f}]"
            for name in ("shared", "transition")
            if pd.notna(row[f"{name}_end"])
        ]
        if named:
            tail = f" Not three sections: {why}" if why else ""
            yield f"Sections of {model}: {listed(named)}, then refinement to layer {row['layers']}.{tail}"
        elif pd.notna(row["gradual_from"]):
            yield f"{model} has no sections, but a rise that is {why}"
        else:
            yield f"Sections of {model} cannot be named: {why or 'the rule finds none.'}"


def helped(findings: Findings, held_out: bool) -> Iterator[str]:
    """Say how exact match changed from the base to the tuned model and the specialist, on one kind of task."""
    table = findings.performance_summary
    for _, row in table[table["held_out"].eq(held_out) & table["gain"].notna()].iterrows():
        specialist = row["control_accuracy"]
        beside = "" if pd.isna(specialist) else f"; their specialists reach {number(specialist)}"
        yield (
            f"{row['experimental']}: exact match {gain_words(row)} (median gain {signed(row['median'])}"
            f"{brackets(row['low'], row['high'])}), {row['worse']} of {row['tasks']} worse{beside}."
        )


def gain_words(row: Mapping[Any, Any] | pd.Series) -> str:
    """Return ".21 → .43 on 7 held-out tasks" for a row of `performance_summary`."""
    kind = "held-out task" if row["held_out"] else "tuned task"
    return f"{number(row['base_accuracy'])} → {number(row['tuned_accuracy'])} on {count(int(row['tasks']), kind)}"


def _median(values: pd.Series) -> str:
    found = values.to_numpy(float)
    return f"{number(float(np.median(found)))}{brackets(*interval(found))}"


def _ranks(row: pd.Series) -> str:
    return "" if pd.isna(row["rank_low"]) else f", rank {row['rank_low']:.0f}-{row['rank_high']:.0f}"
