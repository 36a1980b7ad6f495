"""Which layers to adapt: the section map as advice, by a rule written down in docs/explanation/advice.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mossa.analysis.change import paired_differences
from mossa.analysis.controls import failed
from mossa.analysis.curves import populations
from mossa.analysis.findings import Findings
from mossa.analysis.over_tasks import adjust, interval, wilcoxon
from mossa.errors import DataError, choices

LEVEL = 0.05
NEAREST = 3  # controls named per new task
COLUMNS = ["layer", "rise", "low", "high", "lead", "lead_low", "lead_high", "p_value", "q_value", "advised"]
NEAREST_COLUMNS = ["task", "rank", "other", "similarity"]


@dataclass(frozen=True)
class Advice:
    """Which layers to adapt, and why.

    `layers` count from 1 and are empty if no advice can be given; `rule` says what chose them. `tasks` are those that
    the map of `model` was read from, `depth` is L. `ranking` has one row per layer and `nearest` one per held-out task
    and control that it resembles (docs/advice.md).
    """

    model: str
    estimator: str
    tasks: tuple[str, ...]
    held_out: tuple[str, ...]
    depth: int
    rule: Literal["sections", "rise", "none"]
    layers: tuple[int, ...]
    reason: str
    ranking: pd.DataFrame
    nearest: pd.DataFrame


def advise(findings: Findings, model: str | None = None) -> Advice:
    """Return which layers to adapt for new tasks, from the tasks that `model` was tuned on.

    `model` defaults to the first tuned model that left tasks out, else the first tuned one. Raises `DataError` if the
    study has no such model or no similarity.
    """
    estimator = findings.estimator
    tuned = [str(name) for name in findings.sections["experimental"].unique()]
    if estimator is None or not tuned:
        raise DataError("The run compares no tuned model with the base, so there is no map to take advice from.")
    if model is None:
        model = next((name for name in tuned if "held_out" in populations(findings.curves, name)), tuned[0])
    elif model not in tuned:
        raise DataError(f"The run has no tuned model {model!r}. {choices(model, tuned)}")
    groups = populations(findings.curves, model)
    if "held_out" in groups and "seen" not in groups:
        raise DataError(f"{model!r} was tuned on none of the study's tasks, so its map is one of other tasks.")
    population = "seen" if "seen" in groups else "all"
    differences = paired_differences(findings.curves, model, findings.baseline, estimator)
    differences = differences[differences.index.isin(groups[population])].dropna()
    ranking = rank_layers(differences)
    found = findings.sections
    found = found[found["experimental"].eq(model) & found["estimator"].eq(estimator)]
    section = found[found["population"].eq(population)].iloc[0]
    rule, layers, reason = _choose(section, ranking, len(differences))
    held_out = tuple(groups.get("held_out", ()))
    return Advice(
        model,
        estimator,
        tuple(differences.index),
        held_out,
        len(ranking),
        rule,
        layers,
        reason,
        ranking.assign(advised=ranking["layer"].isin(layers)),
        nearest_controls(_learned(findings), held_out, layers),
    )


def rank_layers(differences: pd.DataFrame) -> pd.DataFrame:
    """Return one row per layer of differences `[T, L]`, model minus base: see `COLUMNS` and docs/explanation/advice.md.

    `rise` is the median over tasks, `lead` that of what is left when each task's mean over layers is taken off, both
    with their 95 % interval over tasks. `p_value` is the signed-rank test of the lead, `q_value` adjusted over layers.
    """
    leads = differences.sub(differences.mean(axis=1), axis=0)
    rows: list[dict[str, object]] = []
    for layer in differences:
        rise, lead = (part[layer].to_numpy(float) for part in (differences, leads))
        low, high = interval(rise)
        lead_low, lead_high = interval(lead)
        middles = [float(np.median(part)) if len(part) else np.nan for part in (rise, lead)]
        rows.append(
            {
                "layer": layer,
                "rise": middles[0],
                "low": low,
                "high": high,
                "lead": middles[1],
                "lead_low": lead_low,
                "lead_high": lead_high,
                "p_value": wilcoxon(lead)[0],
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["q_value"] = adjust(table["p_value"])
    table["advised"] = False
    return table


def risen_layers(ranking: pd.DataFrame) -> tuple[int, ...]:
    """Return the layers that surely rose, and surely more than the others."""
    surely = ranking["low"].gt(0) & ranking["lead_low"].gt(0) & ranking["q_value"].le(LEVEL)
    return tuple(int(layer) for layer in ranking.loc[surely, "layer"])


def nearest_controls(affinity: pd.DataFrame, new: tuple[str, ...], layers: tuple[int, ...]) -> pd.DataFrame:
    """Return the controls of other tasks that each `new` task's control is most like; see `NEAREST_COLUMNS`.

    Debiased CKA on common prompts, mean over `layers` (all if there are none). Tasks that are new themselves are not
    among the others.
    """
    if affinity.empty:
        return pd.DataFrame(columns=NEAREST_COLUMNS)
    chosen = affinity[affinity["task"].isin(new) & ~affinity["other"].isin(new)]
    if layers:
        chosen = chosen[chosen["layer"].isin(layers)]
    means = chosen.groupby(["task", "other"])["value"].mean().dropna().rename("similarity").reset_index()
    means = means.sort_values(["task", "similarity"], ascending=[True, False], kind="stable")
    means["rank"] = means.groupby("task").cumcount() + 1
    return means.loc[means["rank"] <= NEAREST, NEAREST_COLUMNS].reset_index(drop=True)


def spans(layers: tuple[int, ...]) -> str:
    """Return layers in words: `3`, `3-5`, `1, 3-5`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _learned(findings: Findings) -> pd.DataFrame:
    """Return the affinity of the controls that learned their task."""
    controls, affinity = findings.controls, findings.affinity
    poor = controls.loc[failed(controls), "task"]
    return affinity if affinity.empty else affinity[~affinity["task"].isin(poor) & ~affinity["other"].isin(poor)]


def _choose(
    section: pd.Series, ranking: pd.DataFrame, tasks: int
) -> tuple[Literal["sections", "rise", "none"], tuple[int, ...], str]:
    """Return the rule that applies, the layers it names and the reason with its numbers."""
    names = {3: ("shared", "transition", "refinement"), 2: ("shared", "refinement")}.get(int(section["sections"]))
    if names:
        layers = tuple(int(layer) for layer in ranking["layer"])
        start = int(section["shared_end"])
        end = int(section["transition_end"]) if len(names) == 3 else layers[-1]
        return "sections", tuple(layer for layer in layers if start < layer <= end), _of_sections(section, names, tasks)
    chosen = ranking[ranking["layer"].isin(risen_layers(ranking))]
    why = f"There are no sections: {section['reason']}"
    if len(chosen):
        listed = "; ".join(
            f"layer {row['layer']:.0f} {_signed(row['rise'], row['low'], row['high'])}, "
            f"{_signed(row['lead'], row['lead_low'], row['lead_high'])} above the task's mean over layers"
            for _, row in chosen.sort_values("rise", ascending=False).iterrows()
        )
        reason = f"{why} So the layers were chosen in which the model rose to the controls above the base, and more so "
        return (
            "rise",
            risen_layers(ranking),
            f"{reason}than elsewhere ({tasks} tasks): {listed}.",
        )
    if ranking["rise"].isna().all():
        return "none", (), f"{why} No task has a defined difference at every layer."
    best = ranking.sort_values("rise").dropna(subset="rise").iloc[-1]
    reason = (
        f"{why} And no layer stands out: none rose to the controls above the base surely, and surely more than the "
        f"others ({tasks} tasks). The highest is layer {best['layer']:.0f} with "
        f"{_signed(best['rise'], best['low'], best['high'])}, "
        f"{_signed(best['lead'], best['lead_low'], best['lead_high'])} above the task's mean over layers."
    )
    return "none", (), reason


def _of_sections(section: pd.Series, names: tuple[str, ...], tasks: int) -> str:
    ends = [
        f"{name} ends after layer {section[f'{name}_end']:.0f} "
        f"[{section[f'{name}_end_low']:.0f}, {section[f'{name}_end_high']:.0f}]"
        for name in names[:-1]
    ]
    levels = ", ".join(f"{section[f'{name}_difference']:+.3f} in {name}" for name in names)
    chosen = (
        "the transition section is where the model moves from the base to the controls"
        if len(names) == 3
        else "no transition can be told from refinement, so all layers after the shared ones are named"
    )
    return (
        f"{len(names)} sections on {tasks} tasks: {', '.join(ends)}. Similarity to the controls, model minus base: "
        f"{levels}. So {chosen}."
    )


def _signed(value: float, low: float, high: float) -> str:
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
