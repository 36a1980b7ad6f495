"""The three research questions, answered in sentences with numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mossa.analysis.correlates import correlation
from mossa.analysis.over_tasks import LEVEL, interval

if TYPE_CHECKING:
    from mossa.analysis.findings import Findings


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
    yield (
        f"Before instruction tuning the base is at {_spread(read['value'])} of 1 to its controls over "
        f"{_tasks(len(read))} ({findings.estimator}, mean over layers){_beside(findings)}."
    )
    shares = read["share"].dropna()
    if len(shares):
        yield (
            f"Beside what two controls of a task agree on, it is at {_spread(shares)} of 1 over "
            f"{_tasks(len(shares))}{_without(len(read) - len(shares))}."
        )
    above = read["above_sham"].dropna()
    if len(above):
        yield (
            f"It is closer to a task's control than to its sham control by {_spread(above)} over {_tasks(len(above))}; "
            f"by their own errors {(read['above_sham_low'] > 0).sum()} lie above zero and "
            f"{(read['above_sham_high'] < 0).sum()} below."
        )
    if len(read) > 1:
        first, last = read.iloc[0], read.iloc[-1]
        yield (
            f"It is closest to the control of {first['task']} ({_number(first['value'])}{_ranks(first)}), "
            f"farthest from that of {last['task']} ({_number(last['value'])}{_ranks(last)})."
        )
    yield from _clusters(findings)
    yield from _rivals(read)


def _without(tasks: int) -> str:
    return f"; {_tasks(tasks)} without a share, for two controls agree too little or there is one" if tasks else ""


def _clusters(findings: Findings) -> Iterator[str]:
    clusters = findings.encoded_clusters
    clusters = clusters[(clusters["estimator"] == findings.estimator) & clusters["value"].notna()]
    if len(clusters) < 2:
        return
    if clusters["rank"].isna().any():
        yield f"The {len(clusters)} clusters are not ranked: a median of fewer than 6 tasks has no interval."
        return
    listed = ", ".join(
        f"{row['cluster']} {_number(row['value'])}{_brackets(row['low'], row['high'])}"
        for _, row in clusters.sort_values("rank").iterrows()
    )
    yield f"Clusters by the median of their tasks: {listed}."


def _rivals(read: pd.DataFrame) -> Iterator[str]:
    """Say which simple rival of the reading goes along with it over tasks, so nobody takes the one for the other."""
    names = {
        "base_loss": "the base's loss",
        "loss_drop": "the drop in loss by the controls",
        "steps": "the controls' training steps",
        "distance": "the controls' distance from the base",
    }
    for name, words in names.items():
        pair = read[["value", name]].dropna().to_numpy(float)
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
                f"{experimental}: on {_tasks(len(own))} both the similarity to the controls and that of changes from "
                f"the base tell a direction, and they disagree on {len(apart)}. Neither is free of how long each model "
                "was trained."
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
        what = f"{experimental}: the change shows in"
        if row["sections"] == 3:
            yield (
                f"{what} three sections, shared layers 1-{_end(row, 'shared')}, transition to layer "
                f"{_end(row, 'transition')}, refinement to layer {row['layers']}; median difference from the base "
                f"{_signed(row['shared_difference'])}, {_signed(row['transition_difference'])}, "
                f"{_signed(row['refinement_difference'])}."
            )
        elif row["sections"] == 2:
            yield (
                f"{what} two sections, shared layers 1-{_end(row, 'shared')}, then refinement to "
                f"layer {row['layers']}; no transition section can be named, for {row['reason']} Median difference "
                f"from the base {_signed(row['shared_difference'])}, {_signed(row['refinement_difference'])}."
            )
        else:
            yield f"{experimental}: no sections can be identified on {_words(population)} tasks: {row['reason']}"


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
    clustered = own["cluster_q_value"].notna().any()
    q_values = own["cluster_q_value" if clustered else "q_value"]
    sure = own[q_values < LEVEL]
    most = own.iloc[int(own["median"].abs().argmax())]
    counted = _tested(
        q_values,
        f"closer to the controls than the base at {(sure['median'] > 0).sum()} and farther at "
        f"{(sure['median'] < 0).sum()}",
        f"over the means of {own['clusters'].max():.0f} clusters" if clustered else "over tasks",
    )
    bounded = "an interval" if pd.notna(most["widest_low"]) else "too few tasks for an interval"
    yield (
        f"{experimental} on {_tasks(own['tasks'].max(), _words(population))}: {counted}; the largest median difference "
        f"is {_signed(most['median'])}{_brackets(most['widest_low'], most['widest_high'])} at layer {most['layer']} "
        f"({bounded} for the largest of {len(own)} layers)."
    )


def _on_unseen(findings: Findings) -> Iterator[str]:
    for experimental in _experimentals(findings):
        populations = findings.change.loc[findings.change["experimental"] == experimental, "population"]
        if "held_out" not in set(populations):
            continue
        yield from _sections(findings, experimental, "held_out")
        yield from _changes(findings, experimental, "held_out")
        table = findings.unseen_overall
        own = table[(table["experimental"] == experimental) & (table["estimator"] == findings.estimator)]
        for _, row in own[own["median"].notna()].iterrows():
            other = "the base" if row["other"] == findings.baseline else f"{row['other']}, which saw them"
            yield (
                f"{experimental} minus {other}, on the same {_tasks(row['tasks'], 'held-out')}: median "
                f"{_signed(row['median'])}{_brackets(row['low'], row['high'])} (mean over layers{_p(row['p_value'])})"
                f"{_gap(row)}."
            )


def _gap(row: pd.Series) -> str:
    if pd.isna(row["gap"]):
        return ""
    return (
        f"; that is {_signed(row['gap'])}{_brackets(row['gap_low'], row['gap_high'])} from the same on "
        f"{_tasks(row['seen_tasks'])} it saw{_p(row['gap_p_value'])}"
    )


def _p(value: float) -> str:
    return "" if pd.isna(value) else f", p = {value:.2g}"


def _tested(q_values: pd.Series, found: str, over: str) -> str:
    """Return what was `found` out of how many tests, if there were any."""
    tested = q_values.notna().sum()
    if not tested:
        return "too few tasks for a test"
    return f"{found} of {tested} layers tested {over} (false-discovery rate {LEVEL:.0%})"


def _experimentals(findings: Findings) -> list[str]:
    return list(findings.change["experimental"].unique())


def _beside(findings: Findings) -> str:
    table = findings.encoded
    values = table.loc[table["estimator"] == findings.beside, "value"].dropna()
    return f"; plain {findings.beside}, as in the paper: {_spread(values)}" if len(values) else ""


def _spread(values: pd.Series) -> str:
    """Return the median with its interval."""
    found = values.to_numpy(float)
    return f"{_number(float(np.median(found)))}{_brackets(*interval(found))}"


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
