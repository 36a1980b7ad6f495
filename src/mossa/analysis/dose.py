"""Dose: a control that saw few steps stays near the base, and E, trained longer, drifts from everybody."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mossa.analysis.curves import curve

COLUMNS = [
    "reference",
    "task",
    "cluster",
    "seed",
    "steps",
    "epochs",
    "examples",
    "target_tokens",
    "stopped_because",
    "update_norm",
    "relative_update",
    "distance",
    "learned",
    "estimator",
    "base_similarity",
]
READING_COLUMNS = [
    "experimental",
    "task",
    "cluster",
    "held_out",
    "estimator",
    "difference",
    "ceiling",
    "share",
    "base_share",
    "shift_estimator",
    "shift",
    "shift_others",
    "shift_ceiling",
    "shift_share",
    "paper_says",
    "shift_says",
    "agree",
    "reason",
]


def dose(
    similarity: pd.DataFrame, adapters: pd.DataFrame, spectrum: pd.DataFrame, controls: pd.DataFrame, baseline: str
) -> pd.DataFrame:
    """Return, per (control, estimator), its dose beside the base's similarity to it; see `COLUMNS`.

    `distance` (from the base, on its own task's prompts) and `base_similarity` are means over layers; `update_norm` is
    a Frobenius norm. Controls that did not learn stay in, marked, for the dose is often why.
    """
    base = similarity[(similarity["experimental"] == baseline) & (similarity["relation"] == "control")]
    value = base.groupby(["reference", "task", "estimator"], sort=False)["value"].mean().rename("base_similarity")
    distance = spectrum.groupby(["model", "task"])["distance"].mean().rename_axis(["reference", "task"]).reset_index()
    recorded = adapters.drop(columns=["role", "task", "seed", "stopped_because"])
    table = (
        controls.merge(recorded, left_on="reference", right_on="adapter", how="left")
        .merge(distance, on=["reference", "task"], how="left")
        .merge(value.reset_index(), on=["reference", "task"], how="left")
    )
    return table.reindex(columns=COLUMNS)


def dose_readings(curves: pd.DataFrame, baseline: str, estimator: str) -> pd.DataFrame:
    """Return, per (experimental, task), the paper's reading beside the dose-controlled ones; see `READING_COLUMNS`.

    All are means over layers. `difference` is E minus base (the paper's reading); `share` and `base_share` are shares
    of the noise ceiling; `shift` is the similarity of E's and the control's changes from the base, `shift_others` the
    same against controls of other tasks, `shift_share` the share of its own ceiling. `paper_says` is `closer` where
    the difference is above zero, `shift_says` where `shift` is above `shift_others`; else `not closer`. `agree` is
    null, with a `reason`, where one of them cannot be read.
    """
    models = [m for m in curves["experimental"].unique() if m not in (baseline, "control")]
    if not models:
        return pd.DataFrame(columns=READING_COLUMNS)
    return pd.concat([_readings(curves, model, baseline, estimator) for model in models], ignore_index=True)


def _readings(curves: pd.DataFrame, model: str, baseline: str, estimator: str) -> pd.DataFrame:
    shift = shift_of(estimator, list(curves["estimator"].unique()))
    own = curves[(curves["experimental"] == model) & (curves["relation"] == "control")]
    table = own.drop_duplicates("task").set_index("task")[["cluster", "held_out"]]

    def mean(experimental: str, of: str | None, relation: str = "control") -> pd.Series:
        return curve(curves, experimental, of or "", relation).mean(axis=1).reindex(table.index)

    ceiling = mean("control", estimator, "ceiling")
    ceiling = ceiling.where(ceiling > 0)
    table["difference"] = (curve(curves, model, estimator) - curve(curves, baseline, estimator)).mean(axis=1)
    table["ceiling"] = ceiling
    table["share"] = mean(model, estimator) / ceiling
    table["base_share"] = mean(baseline, estimator) / ceiling
    table["shift"] = mean(model, shift)
    table["shift_others"] = mean(model, shift, "other_control")
    table["shift_ceiling"] = mean("control", shift, "ceiling")
    table["shift_share"] = table["shift"] / table["shift_ceiling"].where(table["shift_ceiling"] > 0)
    above_others = table["shift"] - table["shift_others"]
    table["paper_says"] = _says(table["difference"])
    table["shift_says"] = _says(above_others)
    both = table["difference"].notna() & above_others.notna()
    table["agree"] = (table["paper_says"] == table["shift_says"]).astype("boolean").where(both)
    table["reason"] = pd.Series(_why_not(shift), table.index, dtype="object").where(~both, None)
    return (
        table.reset_index()
        .assign(experimental=model, estimator=estimator, shift_estimator=shift)
        .reindex(columns=READING_COLUMNS)
    )


def shift_of(estimator: str, there: list[str]) -> str | None:
    """Return the estimator of changes that belongs to `estimator`, else the first that is there, else null."""
    shifts = sorted(name for name in there if name.startswith("shift-"))
    return f"shift-{estimator}" if f"shift-{estimator}" in shifts else next(iter(shifts), None)


def _says(values: pd.Series) -> pd.Series:
    return pd.Series(np.where(values > 0, "closer", "not closer"), values.index).where(values.notna(), None)


def _why_not(shift: str | None) -> str:
    if shift is None:
        return "the run has no similarity of changes from the base (an estimator named shift-...)"
    return "the difference, the similarity of changes or the same against other controls is undefined"
