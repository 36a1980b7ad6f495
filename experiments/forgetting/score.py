"""Holds the verdicts of small samples against a larger independent one, and counts false alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.forgetting.trial import BASES, Case, cases, exchanged, paired
from mossa.paired.verdicts import LOST, UNCHANGED, UNDECIDABLE, WON, judge

SURE = 1e-3  # p of McNemar's test on the large sample from which on a change is taken as true
SIZES = ((0.2, 1.01), (0.1, 0.2), (0.0, 0.1))  # of true losses, in shares of examples
EXCHANGES = 100


def outcome(runs: Path) -> str:
    """Return the tables of the outcome as Markdown, from the answers in `runs`."""
    forgetting = pd.concat([verdicts(runs, case) for case in cases() if not case.again], ignore_index=True)
    reseeded = pd.concat([verdicts(runs, case) for case in cases() if case.again], ignore_index=True)
    return "\n".join([*_forgetting(forgetting), "", *_alarms(runs, reseeded)]) + "\n"


def verdicts(runs: Path, case: Case) -> pd.DataFrame:
    """Return the verdict on every skill in each sample, and what the other samples say: `truth` and `drop`.

    The model before is the case's base, or for one trained again the one of the first seed.
    """
    first = Case(case.base, case.draw, case.steps).name if case.again else case.base
    before, after = (pd.read_parquet(runs / f"{name}.parquet") for name in (first, case.name))
    samples = list(paired(before, after))
    rows: list[pd.DataFrame] = []
    for place, sample in enumerate(samples):
        others = pd.concat([other for at, other in enumerate(samples) if at != place])
        true = pd.DataFrame([_true(str(task), part) for task, part in others.groupby("task")])
        rows.append(judge(sample).merge(true, on="task").assign(case=case.name, sample=place))
    return pd.concat(rows, ignore_index=True)


def _true(task: str, answers: pd.DataFrame) -> dict[str, Any]:
    before, after = answers["exact_before"].to_numpy(bool), answers["exact_after"].to_numpy(bool)
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    sure = lost + won > 0 and stats.binomtest(lost, lost + won).pvalue < SURE
    truth = UNCHANGED if not sure else LOST if lost > won else WON
    return {"task": task, "truth": truth, "drop": (lost - won) / len(answers)}


def _forgetting(table: pd.DataFrame) -> list[str]:
    called, true = table["verdict"].eq(LOST), table["truth"].eq(LOST)
    lines = [
        f"{table['case'].nunique()} models, {len(table):,} verdicts, {int(true.sum()):,} of true losses.",
        "",
        "| outcome | value | 95 % interval over models | of |",
        "| --- | --- | --- | --- |",
        _line("precision: called lost and truly lost", table, called, true),
    ]
    for low, high in SIZES:
        size = true & table["drop"].ge(low) & table["drop"].lt(high)
        lines.append(_line(f"recall, drop of {low:.0%} to {min(high, 1):.0%}", table, size, called))
    lines.append(_line("called lost among skills without a true loss", table, ~true, called))
    for verdict in (LOST, WON, UNCHANGED, UNDECIDABLE):
        lines.append(_line(f"verdict {verdict}", table, table["verdict"].notna(), table["verdict"].eq(verdict)))
    return lines


def _line(name: str, table: pd.DataFrame, among: pd.Series[bool], which: pd.Series[bool]) -> str:
    """Return the share of `which` in `among`, with an interval from resampled models (2,000 draws)."""
    counts = pd.DataFrame({"case": table["case"], "of": among, "hits": among & which}).groupby("case").sum()
    of, hits = counts["of"].to_numpy(float), counts["hits"].to_numpy(float)
    if not of.sum():
        return f"| {name} | none | | 0 |"
    draws = np.random.default_rng(0).integers(0, len(of), (2_000, len(of)))
    totals = of[draws].sum(1)
    low, high = np.quantile(hits[draws].sum(1)[totals > 0] / totals[totals > 0], [0.025, 0.975])
    return f"| {name} | {hits.sum() / of.sum():.3f} | {low:.3f} to {high:.3f} | {of.sum():,.0f} |"


def _alarms(runs: Path, reseeded: pd.DataFrame) -> list[str]:
    unchanged = [judge(sample) for base in BASES for sample in paired(*[pd.read_parquet(runs / f"{base}.parquet")] * 2)]
    called = pd.concat(unchanged)["verdict"].isin([LOST, WON])
    rng, alarms, draws = np.random.default_rng(0), 0, 0
    for case in (case for case in cases() if not case.again):
        before, after = (pd.read_parquet(runs / f"{name}.parquet") for name in (case.base, case.name))
        pair = next(paired(before, after))
        for _ in range(EXCHANGES):
            draws += 1
            alarms += bool(judge(exchanged(pair, rng))["verdict"].isin([LOST, WON]).any())
    null = reseeded["truth"].eq(UNCHANGED)
    false = reseeded["verdict"].isin([LOST, WON]) & null
    return [
        "| false alarms | value | of |",
        "| --- | --- | --- |",
        f"| the same model twice: verdicts won or lost | {int(called.sum())} | {len(called)} |",
        f"| before and after exchanged by a coin: draws with any | {alarms / draws:.3f} | {draws:,} |",
        f"| another seed: won or lost without a true change | {false.sum() / null.sum():.3f} | {null.sum():,} |",
        f"| another seed: true changes | {(~null).mean():.3f} | {len(null):,} |",
    ]
