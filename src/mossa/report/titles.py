"""The title of every figure and chart: what it shows, as a conclusion, with numbers from the table behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.answers import gain_words
from mossa.analysis.over_tasks import LEVEL
from mossa.analysis.wording import count, extreme, listed, number, signed
from mossa.report.colours import CEILING

CORRELATES = {
    "flesch_kincaid": "Flesch-Kincaid grade",
    "coleman_liau": "Coleman-Liau index",
    "train": "training examples",
    "steps": "the specialist's steps",
    "update_norm": "the specialist's update norm",
    "prompt_tokens": "prompt length",
    "control_loss": "the specialist's test loss",
    "base_loss": "the base's test loss",
}


def most_apart(rows: pd.DataFrame, where: str = "") -> str:
    """Say at which layer the medians of the models differ most, and what they are."""
    medians, spread = _medians(rows)
    tasks = count(rows.loc[rows["value"].notna(), "task"].nunique(), "task")
    if not spread.any():
        return f"Similarity to the specialists, {tasks}"
    place = int(np.argmax(spread.to_numpy(float)))
    layer = medians.index[place]
    words = listed(f"{model} {number(value)}" for model, value in medians.iloc[place].sort_values().items())
    of = tasks if tasks == count(1, "task") else f"medians, {tasks}"
    return f"The models differ most {where}at layer {layer}: {words} ({of})"


def clusters(rows: pd.DataFrame) -> str:
    """Say in which cluster and at which layer the medians of the models differ most."""
    spread = {str(name): _medians(part)[1].max() for name, part in rows.groupby("cluster")}
    known = [name for name, value in spread.items() if value > 0]
    if not known:
        return "Similarity to the specialists, per cluster"
    most = max(known, key=lambda name: spread[name])
    return most_apart(rows[rows["cluster"].eq(most)], f"on {most} ")


def _medians(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return the medians over tasks of every model per layer, and how far these lie apart."""
    own = rows[rows["experimental"].ne(CEILING) & rows["value"].notna()]
    medians = own.pivot_table(index="layer", columns="experimental", values="value", aggfunc="median").dropna()
    return medians, medians.max(axis=1) - medians.min(axis=1)


def heatmap(rows: pd.DataFrame) -> str:
    """Say where the similarity of a model to a task's specialist is lowest."""
    known = rows[rows["value"].notna() & rows["experimental"].ne(CEILING)]
    if known.empty:
        return "Similarity of every task at every layer"
    least = known.iloc[int(np.argmin(known["value"].to_numpy(float)))]
    where = f"{least['experimental']} on {least['task']} at layer {least['layer']}"
    return f"Every task at every layer; least like its specialist: {where} ({number(least['value'])})"


def performance(findings: Findings) -> str:
    """Say how mean exact match changed on tuned and on held-out tasks."""
    table = findings.performance_summary.dropna(subset=["gain"])
    if table.empty:
        return "Loss per task, from base to tuned model"
    rows = table.sort_values("held_out", kind="stable").to_dict("records")
    return "Exact match: " + listed(f"{row['experimental']} {gain_words(row)}" for row in rows)


def encoded(rows: pd.DataFrame, taught: frozenset[str]) -> str:
    """Say to which specialists the base is closest; where it is known what it was taught, how many of them were."""
    ranked = list(rows.sort_values("value", ascending=False)["task"])
    if not taught:
        return f"The base is most like the specialists of {listed(ranked[:3])}, least like {listed(ranked[-1:])}"
    top = next((place for place, task in enumerate(ranked) if task not in taught), len(ranked))
    there = sum(task in taught for task in ranked)
    first = ranked[: max(1, there)]
    if top > 1:
        return f"The {top} tasks most similar to their specialists were all taught to this base ({there} were)"
    right = sum(task in taught for task in first)
    return (
        f"{right} of the {len(first)} tasks most similar to their specialists were taught to this base ({there} were)"
    )


def place(table: pd.DataFrame) -> str:
    """Say at which layer each reading of where the task acts is largest."""
    told: list[str] = []
    for name, rows in table.groupby("reading", sort=False):
        medians = rows.groupby("layer")["value"].median()
        told.append(f"{name} at layer {medians.idxmax()} ({number(float(medians.max()))})")
    return f"Largest: {listed(told)}"


def separability(table: pd.DataFrame) -> str:
    """Say how far above chance each label can be read off at best."""
    above = table.assign(above=table["accuracy"].astype(float) - table["chance"].astype(float)).dropna(subset=["above"])
    best = above.groupby("label", sort=False)["above"].max().sort_values(ascending=False)
    words = listed(f"{str(label).replace('_', ' ')} {signed(value)}" for label, value in best.items())
    return f"Read off the representations, at best above chance: {words}"


def dimensionality(table: pd.DataFrame) -> str:
    """Say at which layer the numbers of dimensions that the models use differ most."""
    grid = table.pivot_table(index="layer", columns="model", values="dimensions_99").dropna()
    if grid.shape[1] < 2 or grid.empty:
        return "Dimensions that explain 99 % of the variance"
    place = int(np.argmax(np.ptp(grid.to_numpy(float), axis=1)))
    layer = grid.index[place]
    named = grid.rename(columns={CEILING: "the specialists"}).iloc[place].sort_values()
    words = [f"{name} {value:.0f}" for name, value in named.items()]
    return f"Dimensions in use differ most at layer {layer}: {listed(words)}"


def correlates(table: pd.DataFrame) -> str:
    """Say how many correlations are significant and which is strongest."""
    known = table[table["correlation"].notna() & table["experimental"].ne(CEILING)]
    sure = known[known["q_value"].lt(LEVEL).fillna(False)]
    if sure.empty:
        return f"Nothing correlates significantly with similarity ({count(len(known), 'correlation')} tested)"
    top = extreme(sure, "correlation")
    what = CORRELATES.get(str(top["correlate"]), str(top["correlate"]))
    return (
        f"{len(sure)} of {count(len(known), 'correlation')} are significant; strongest {signed(top['correlation'])}, "
        f"{what} with {top['experimental']} at layer {top['layer']}"
    )


def affinity(mean: pd.DataFrame) -> str:
    """Say which two specialists are most similar, given a square table of tasks by tasks."""
    pairs = mean.stack()
    pairs = pairs[[one != other for one, other in pairs.index]]
    if pairs.empty:
        return "Which tasks share representations"
    one, other = pairs.idxmax()
    return f"The most similar specialists are those of {one} and {other} ({number(float(pairs.max()))})"


def layer_map(pairs: Sequence[tuple[str, str, pd.DataFrame]]) -> str:
    """Say for how many layers of a tuned model the layer of the same depth is the most similar one."""
    told: list[str] = []
    for model, other, table in pairs:
        best = table.fillna(-1).idxmax(axis=1)
        told.append(f"{model} and {other} {int((best == best.index).sum())} of {len(best)}")
    return f"Layers whose most similar layer in the other model is the same one: {listed(told)}"
