"""The three research questions, answered in sentences with numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.analysis.bootstrap import interval
from mossa.analysis.correlates import correlation

if TYPE_CHECKING:
    from mossa.analysis.findings import Findings

LEVEL = 0.05


def answers(findings: Findings) -> tuple[tuple[str, str], ...]:
    """Return (question, sentence) pairs: `rq1` before, `rq2` after instruction tuning, `rq3` for unseen tasks.

    Brackets hold 95 % intervals over tasks. A question the run cannot answer has no sentence here and one in `missing`.
    """
    pairs = [("rq1", sentence) for sentence in _before(findings)]
    pairs += [("rq2", sentence) for sentence in _after(findings)]
    pairs += [("rq3", sentence) for sentence in _on_unseen(findings)]
    return tuple(pairs)


def _before(findings: Findings) -> Iterator[str]:
    table = findings.encoded
    read = table[(table["estimator"] == findings.estimator) & table["value"].notna()].sort_values("rank")
    if read.empty:
        return
    shared = read["share"].notna().all()
    column, what = ("share", "of the noise ceiling") if shared else ("value", "similarity (no noise ceiling)")
    values = read[column].to_numpy(float)
    yield (
        f"Before instruction tuning the base reaches {_spread(values)} {what} over {_tasks(len(read))} "
        f"({findings.estimator}, mean over layers){_beside(findings)}."
    )
    above = read["above_others"].dropna().to_numpy(float)
    if len(above):
        yield f"Its similarity to a task's own control exceeds that to other tasks' controls by {_spread(above)}."
    if len(read) > 1:
        first, last = read.iloc[0], read.iloc[-1]
        yield (
            f"Most encoded is {first['task']} ({_number(first[column])}{_ranks(first)}), "
            f"least {last['task']} ({_number(last[column])}{_ranks(last)})."
        )
    if shared:
        found = correlation(read["value"].to_numpy(float), read["share"].to_numpy(float), "spearman")
        if found["reason"] is None:
            yield (
                "The order of tasks by similarity alone agrees with that by share of the ceiling to Spearman "
                f"{found['correlation']:+.2f}."
            )
    clusters = findings.encoded_clusters
    clusters = clusters[(clusters["estimator"] == findings.estimator) & clusters["rank"].notna()].sort_values("rank")
    if len(clusters) > 1:
        of = "share" if clusters["share"].notna().all() else "value"
        listed = ", ".join(f"{row['cluster']} {_number(row[of])}" for _, row in clusters.iterrows())
        yield f"Clusters from most to least encoded: {listed}."
    yield from _rivals(read, column)


def _rivals(read: pd.DataFrame, column: str) -> Iterator[str]:
    """Say which simple rival of the reading goes along with it over tasks, so nobody takes the one for the other."""
    names = {
        "base_loss": "the base's loss",
        "loss_drop": "the drop in loss by the controls",
        "steps": "the controls' training steps",
        "distance": "the controls' distance from the base",
    }
    for name, words in names.items():
        pair = read[[column, name]].dropna().to_numpy(float)
        found = correlation(pair[:, 0], pair[:, 1], "spearman")
        if found["reason"] is None and not float(str(found["low"])) <= 0 <= float(str(found["high"])):
            yield (
                f"This reading goes along with {words} over {_tasks(len(pair))} "
                f"(Spearman {_with_interval(found, 'correlation')})."
            )


def _after(findings: Findings) -> Iterator[str]:
    for experimental in _experimentals(findings):
        populations = set(findings.change.loc[findings.change["experimental"] == experimental, "population"])
        if "all" in populations and populations != {"all", "held_out"}:
            yield from _sections(findings, experimental, "seen" if "seen" in populations else "all")
            yield from _changes(findings, experimental, "seen" if "seen" in populations else "all")
        readings = findings.dose_readings
        own = readings[(readings["experimental"] == experimental) & readings["agree"].notna()]
        if len(own):
            apart = own[~own["agree"].astype(bool)]
            yield (
                f"{experimental}: similarity to the controls and similarity of changes from the base disagree on "
                f"{len(apart)} of {_tasks(len(own))}; median similarity of changes {_number(own['shift'].median())}, "
                f"to controls of other tasks {_number(own['shift_others'].median())}."
            )


def _sections(findings: Findings, experimental: str, population: str) -> Iterator[str]:
    table = findings.sections
    chosen = table[
        (table["experimental"] == experimental)
        & (table["population"] == population)
        & (table["estimator"] == findings.estimator)
        & (table["tasks"] > 0)
    ]
    for _, row in chosen.iterrows():
        if row["sections"] == 3:
            yield (
                f"{experimental}: shared layers 1-{_end(row, 'shared')}, "
                f"transition to layer {_end(row, 'transition')}, refinement to layer {row['layers']}; "
                f"median difference from the base {_signed(row['shared_difference'])}, "
                f"{_signed(row['transition_difference'])}, {_signed(row['refinement_difference'])}."
            )
        elif row["sections"] == 2:
            yield (
                f"{experimental}: shared layers 1-{_end(row, 'shared')}, then refinement to layer {row['layers']}; no "
                f"transition section can be named, for {row['reason']} Median difference from the base "
                f"{_signed(row['shared_difference'])}, {_signed(row['refinement_difference'])}."
            )
        else:
            yield f"{experimental}: no sections can be identified on {_words(population)} tasks, for {row['reason']}"


def _changes(findings: Findings, experimental: str, population: str) -> Iterator[str]:
    table = findings.change
    own = table[
        (table["experimental"] == experimental)
        & (table["population"] == population)
        & (table["estimator"] == findings.estimator)
        & table["median"].notna()
    ]
    if own.empty:
        return
    sure = own[own["q_value"] < LEVEL]
    most = own.iloc[int(own["median"].abs().argmax())]
    counted = _tested(
        own["q_value"],
        f"closer to the controls than the base at {(sure['median'] > 0).sum()} and farther at "
        f"{(sure['median'] < 0).sum()}",
    )
    yield (
        f"{experimental} on {_tasks(own['tasks'].max(), _words(population))}: {counted}; the largest median difference "
        f"is {_signed(most['median'])}{_brackets(most['low'], most['high'])} at layer {most['layer']}."
    )


def _on_unseen(findings: Findings) -> Iterator[str]:
    for experimental in _experimentals(findings):
        populations = findings.change.loc[findings.change["experimental"] == experimental, "population"]
        if "held_out" not in set(populations):
            continue
        yield from _sections(findings, experimental, "held_out")
        yield from _changes(findings, experimental, "held_out")
        table = findings.unseen
        own = table[(table["experimental"] == experimental) & (table["estimator"] == findings.estimator)]
        if own["gap"].notna().any():
            counted = _tested(own["gap_q_value"], f"the two differ at {(own['gap_q_value'] < LEVEL).sum()}")
            yield (
                f"{experimental}: the median difference of held-out tasks lies {_signed(own['gap'].mean())} from that "
                f"of seen tasks on average over layers; {counted}."
            )


def _tested(q_values: pd.Series, found: str) -> str:
    """Return what was `found` out of how many tests, if there were any."""
    tested = q_values.notna().sum()
    if not tested:
        return "too few tasks for a test"
    return f"{found} of {tested} tested layers (false-discovery rate {LEVEL:.0%})"


def _experimentals(findings: Findings) -> list[str]:
    return list(findings.change["experimental"].unique())


def _beside(findings: Findings) -> str:
    table = findings.encoded
    values = table.loc[table["estimator"] == findings.beside, "value"].dropna().to_numpy(float)
    return f"; plain {findings.beside}, as in the paper: {_spread(values)}" if len(values) else ""


def _spread(values: np.ndarray) -> str:
    return f"a median of {_number(float(np.median(values)))}{_brackets(*interval(values))}"


def _with_interval(row: dict[str, object], column: str) -> str:
    return f"{float(str(row[column])):+.2f} [{float(str(row['low'])):+.2f}, {float(str(row['high'])):+.2f}]"


def _end(row: pd.Series, name: str) -> str:
    return f"{row[f'{name}_end']:.0f} [{row[f'{name}_end_low']:.0f}, {row[f'{name}_end_high']:.0f}]"


def _ranks(row: pd.Series) -> str:
    return "" if pd.isna(row["rank_low"]) else f", rank {row['rank_low']:.0f}-{row['rank_high']:.0f}"


def _brackets(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" [{low:.3f}, {high:.3f}]"


def _number(value: float) -> str:
    return f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _tasks(number: int, kind: str = "") -> str:
    return f"{number} {kind}{' ' if kind else ''}task{'' if number == 1 else 's'}"


def _words(population: str) -> str:
    return {"all": "tuned", "seen": "tuned", "held_out": "held-out"}[population]
