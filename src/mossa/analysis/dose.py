"""Dose: a control trained for few steps stays near the base; a model tuned for longer moves away from all controls."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mossa.analysis.curves import curve

COLUMNS = [
    "reference", "task", "cluster", "seed", "steps", "epochs", "examples", "target_tokens", "stopped_because",
    "update_norm", "relative_update", "distance", "learned", "estimator", "base_similarity",
]  # fmt: skip
READING_COLUMNS = [
    "experimental", "task", "cluster", "held_out", "learned", "estimator", "difference", "difference_low",
    "difference_high", "shift_estimator", "shift", "shift_others", "shift_low", "shift_high", "paper_says",
    "shift_says", "agree", "reason",
]  # fmt: skip


def with_dose(controls: pd.DataFrame, adapters: pd.DataFrame, spectrum: pd.DataFrame) -> pd.DataFrame:
    """Return the controls with what is recorded of their training, and their mean `distance` from the base."""
    recorded = adapters.drop(columns=["role", "task", "seed", "stopped_because"]).rename(
        columns={"adapter": "reference"}
    )
    distance = spectrum.groupby(["model", "task"])["distance"].mean().rename_axis(["reference", "task"]).reset_index()
    return controls.merge(recorded, how="left", on="reference").merge(distance, how="left", on=["reference", "task"])


def dose(similarity: pd.DataFrame, dosed: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (control, estimator), its dose and the base's similarity to it; see `COLUMNS`.

    `distance` (from the base, on its own task's prompts) and `base_similarity` are means over layers; `update_norm` is
    a Frobenius norm. Controls that did not learn are kept and marked, because the dose is often the reason.
    """
    base = similarity[(similarity["experimental"] == baseline) & (similarity["relation"] == "control")]
    value = base.groupby(["reference", "task", "estimator"], sort=False)["value"].mean().rename("base_similarity")
    return dosed.merge(value.reset_index(), on=["reference", "task"], how="left").reindex(columns=COLUMNS)


def dose_readings(
    curves: pd.DataFrame, differences: pd.DataFrame, tuned: pd.DataFrame, baseline: str, estimator: str
) -> pd.DataFrame:
    """Return, per (experimental, task), the paper's reading and the one from changes; see `READING_COLUMNS`.

    All are means over layers, with 95 % intervals from the mean of the standard errors. `difference` is tuned model
    minus base. `shift` is the similarity of the model's and the control's changes from the base, `shift_others` the
    same against controls of other tasks, `shift_low` and `shift_high` the interval of the first minus the second. Both
    readings depend on the dose. `paper_says` and `shift_says` are `closer` or `not closer` where the interval excludes
    zero, else null; `agree` is null, with a `reason`, where one of them has no direction.
    """
    models = [m for m in curves["experimental"].unique() if m not in (baseline, "control")]
    tables = [_readings(curves, differences, model, estimator) for model in models]
    if not tables:
        return pd.DataFrame(columns=READING_COLUMNS)
    learned = tuned[["model", "task", "learned"]].rename(columns={"model": "experimental"})
    table = pd.concat(tables, ignore_index=True).merge(learned, on=["experimental", "task"], how="left")
    return table.reindex(columns=READING_COLUMNS)


def _readings(curves: pd.DataFrame, differences: pd.DataFrame, model: str, estimator: str) -> pd.DataFrame:
    shift = shift_of(estimator, list(curves["estimator"].unique()))
    own = curves[(curves["experimental"] == model) & (curves["relation"] == "control")]
    table = own.drop_duplicates("task").set_index("task")[["cluster", "held_out"]]

    def mean(relation: str, column: str) -> pd.Series:
        return curve(curves, model, shift or "", relation, column).mean(axis=1).reindex(table.index)

    rows = differences[(differences["experimental"] == model) & (differences["estimator"] == estimator)]
    known = set(own.loc[own["value"].notna(), "task"])
    paper = rows[rows["task"].isin(known)].groupby("task")[["difference", "standard_error"]].mean().astype(float)
    paper = paper.reindex(table.index)
    table["difference"] = paper["difference"]
    table["shift"], table["shift_others"] = mean("control", "value"), mean("other_control", "value")
    error = np.hypot(mean("control", "standard_error"), mean("other_control", "standard_error"))
    for name, value, spread in (
        ("difference", table["difference"], paper["standard_error"]),
        ("shift", table["shift"] - table["shift_others"], error),
    ):
        table[f"{name}_low"], table[f"{name}_high"] = value - 1.96 * spread, value + 1.96 * spread
    table["paper_says"] = _says(table["difference_low"], table["difference_high"])
    table["shift_says"] = _says(table["shift_low"], table["shift_high"])
    both = table["paper_says"].notna() & table["shift_says"].notna()
    table["agree"] = (table["paper_says"] == table["shift_says"]).astype("boolean").where(both)
    table["reason"] = pd.Series(_why_not(shift), table.index, dtype="object").where(~both, None)
    return table.reset_index().assign(experimental=model, estimator=estimator, shift_estimator=shift)


def shift_of(estimator: str, there: list[str]) -> str | None:
    """Return the estimator of changes that belongs to `estimator`, else the first that is there, else null."""
    shifts = sorted(name for name in there if name.startswith("shift-"))
    return f"shift-{estimator}" if f"shift-{estimator}" in shifts else next(iter(shifts), None)


def _says(low: pd.Series, high: pd.Series) -> pd.Series:
    said = pd.Series(np.select([low > 0, high < 0], ["closer", "not closer"], ""), low.index, dtype="object")
    return said.where(said != "", None)


def _why_not(shift: str | None) -> str:
    if shift is None:
        return "the run has no similarity of changes from the base (an estimator named shift-...)"
    return "the interval of the difference or of the similarity of changes includes zero, or is not known"
