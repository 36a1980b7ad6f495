"""Advice as text: the layers, the reason, a configuration to copy, and what a test of it showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.advice.arms import verdict
from experiments.advice.layers import Advice, spans
from mossa.report.write import safe

NAMES = {
    "random": "as many random layers",
    "all": "all layers",
    "first": "the first as many",
    "last": "the last as many",
}
CAUTION = (
    "Caution: where this rule was put to the test (TinyFLAN, six new tasks), the layers it advised were worse than as "
    "many random ones. Test it on your study with: python -m experiments.advice STUDY --validate. "
    "See docs/explanation/advice.md."
)
MEASURES = {"loss": "test loss", "accuracy": "exact match"}


def headline(advice: Advice) -> str:
    """Return the advice in one sentence."""
    if not advice.layers:
        return "No advice can be given: no layer stands out."
    rule = {"sections": "the sections of its layers", "rise": "where it rose most to the controls"}[advice.rule]
    return f"Adapt the layers {spans(advice.layers)} of {advice.depth} (rule: {rule}; model: {advice.model})."


def python(config: Mapping[str, Any], layers: Sequence[int]) -> str:
    """Return Python that makes the configuration; `config` holds the arguments to give to PEFT's LoraConfig."""
    lines = ["from peft import LoraConfig", "", "config = LoraConfig("]
    for name, value in config.items():
        note = f"  # PEFT counts from 0: these are the layers {spans(tuple(layers))}"
        lines.append(f"    {name}={value!r},{note if name == 'layers_to_transform' else ''}")
    return "\n".join([*lines, ")"]) + "\n"


def resemblance(nearest: pd.DataFrame, held_out: Sequence[str]) -> list[str]:
    """Return one sentence per new task: whose controls its own resembles; or why that is not known."""
    if not held_out:
        return []
    if nearest.empty:
        return [
            "Which controls new tasks resemble is not known: set similarity.affinity: true and run the study again."
        ]
    known = [
        f"{task} is most like "
        + ", ".join(f"{row['other']} ({row['similarity']:.2f})" for _, row in part.sort_values("rank").iterrows())
        + "."
        for task, part in nearest.groupby("task")
    ]
    unknown = [task for task in held_out if task not in set(nearest["task"])]
    return known + ([f"Not known, for its control did not learn: {', '.join(unknown)}."] if unknown else [])


def as_text(advice: Advice, code: str | None, saved: Sequence[str]) -> str:
    """Return the advice as a person at a terminal reads it."""
    lines = [headline(advice), advice.reason]
    if code is not None:
        lines += [CAUTION, "", code, "Against the same adapter on all layers:", *(f"* {line}" for line in saved)]
    return "\n".join([*lines, *(f"* {sentence}" for sentence in resemblance(advice.nearest, advice.held_out))])


def as_markdown(advice: Advice, code: str | None, saved: Sequence[str]) -> str:
    """Return the advice as Markdown."""
    lines = ["# Which layers to adapt", "", f"**{safe(headline(advice))}**", "", safe(advice.reason), ""]
    if code is not None:
        lines += [CAUTION, "", "```python", code.rstrip(), "```", "", "Against the same adapter on all layers:", ""]
        lines += [*(f"- {line}" for line in saved), ""]
    lines += [
        f"## Layers, {len(advice.tasks)} tasks, {safe(advice.estimator)}",
        "",
        "| layer | model minus base | above the task's mean over layers | q | advised |",
        "| --- | --- | --- | --- | --- |",
    ]
    for _, row in advice.ranking.iterrows():
        q = "" if pd.isna(row["q_value"]) else f"{row['q_value']:.2g}"
        chosen = "yes" if row["advised"] else ""
        lines.append(
            f"| {row['layer']:.0f} | {_interval(row, 'rise', 'low', 'high')} | "
            f"{_interval(row, 'lead', 'lead_low', 'lead_high')} | {q} | {chosen} |"
        )
    near = resemblance(advice.nearest, advice.held_out)
    if near:
        lines += ["", "## What the new tasks resemble", "", *(f"- {safe(sentence)}" for sentence in near)]
    return "\n".join(lines) + "\n"


def outcome(against: pd.DataFrame) -> list[str]:
    """Return what the test of the advice showed, in sentences; the comparison with random layers comes first."""
    found: list[str] = []
    for _, row in against[against["measure"] == "loss"].iterrows():
        rival = NAMES[row["arm"]]
        if row["same"]:
            found.append(f"Against {rival}: the advised layers are these themselves, so there is nothing to compare.")
            continue
        said = verdict(row)
        text = {
            "better": f"The advised layers beat {rival}",
            "worse": f"The advised layers are worse than {rival}",
            "not shown": f"The advice does not beat {rival}",
            "cannot be said": f"Whether the advice beats {rival} cannot be said",
        }[said]
        if pd.notna(row["difference"]):
            text += f": test loss {_interval(row, 'difference', 'low', 'high')} nats per target token"
        sample = f"{row['tasks']:.0f} tasks, {row['seeds']:.0f} seeds"
        text += f", lower in {row['better']:.0f} of {row['pairs']:.0f} pairs ({sample})"
        exact = against[against["arm"].eq(row["arm"]) & against["measure"].eq("accuracy")].iloc[0]
        if pd.notna(exact["difference"]):
            text += f"; exact match {_interval(exact, 'difference', 'low', 'high')}"
        if row["left_out"]:
            text += f"; {row['left_out']:.0f} tasks lack a training and are left out"
        found.append(f"{text}.")
    return found


def outcome_markdown(arms: pd.DataFrame, against: pd.DataFrame, steps: int) -> str:
    """Return the outcome of the test as Markdown; `arms` also has `layers`, `rank` and `weights`."""
    lines = ["# Is the advice any good?", "", *(f"- {sentence}" for sentence in outcome(against)), ""]
    lines += [f"{steps} steps each.", "", "| layers | which | rank | trained weights | test loss | exact match |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for _, row in arms.iterrows():
        numbers = [_plain(row, measure) for measure in MEASURES]
        lines.append(f"| {row['arm']} | {row['layers']} | {row['rank']} | {row['weights']} | {' | '.join(numbers)} |")
    lines += ["", "| advised minus | measure | difference | better | worse | of | verdict |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for _, row in against[~against["same"].astype(bool)].iterrows():
        lines.append(
            f"| {row['arm']} | {MEASURES[row['measure']]} | {_interval(row, 'difference', 'low', 'high')} | "
            f"{row['better']:.0f} | {row['worse']:.0f} | {row['pairs']:.0f} | {verdict(row)} |"
        )
    return "\n".join(lines) + "\n"


def _interval(row: Any, value: str, low: str, high: str) -> str:
    if pd.isna(row[value]):
        return "undefined"
    return f"{row[value]:+.3f}" + ("" if pd.isna(row[low]) else f" [{row[low]:+.3f}, {row[high]:+.3f}]")


def _plain(row: Any, name: str) -> str:
    if pd.isna(row[name]):
        return "undefined"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if pd.isna(low) else f" [{low:.3f}, {high:.3f}]")
