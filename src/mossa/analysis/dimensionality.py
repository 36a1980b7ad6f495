"""How many dimensions the representations use, per layer and model (figure 5)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mossa.analysis.controls import failed
from mossa.analysis.over_tasks import interval

COLUMNS = [
    "model", "layer", "tasks", "undefined", "dimensions_99", "median", "low", "high", "participation_ratio",
    "effective_rank", "difference", "difference_low", "difference_high", "reason",
]  # fmt: skip


def dimensionality(spectrum: pd.DataFrame, controls: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return, per (model, layer), the mean over tasks of three dimensionalities; see `COLUMNS`.

    `dimensions_99` is figure 5's number, a mean; `median` over tasks has the interval `low`, `high`. All controls that
    learned count as one model, `control`, each on its own task. `difference` is the median over tasks of the dimensions
    minus the base's on the same task.
    """
    own = controls.loc[~failed(controls), ["reference", "task"]]
    of_controls = spectrum.merge(own.rename(columns={"reference": "model"}), on=["model", "task"])
    models = spectrum[spectrum["role"] != "control"]
    rows = pd.concat([models, of_controls.assign(model="control")], ignore_index=True)
    base = spectrum[spectrum["model"] == baseline].set_index(["task", "layer"])["dimensions_99"]
    of_base = base.reindex(pd.MultiIndex.from_frame(rows[["task", "layer"]]))
    rows["difference"] = rows["dimensions_99"] - of_base.to_numpy(float)
    table = [
        {"model": model, "layer": layer} | _row(group, is_base=model == baseline)
        for (model, layer), group in rows.groupby(["model", "layer"], sort=False)
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def _row(group: pd.DataFrame, is_base: bool) -> dict[str, object]:
    dimensions = group["dimensions_99"].dropna().to_numpy(float)
    difference = group["difference"].dropna().to_numpy(float)
    row: dict[str, object] = {"tasks": len(dimensions), "undefined": len(group) - len(dimensions)}
    if not len(dimensions):
        return row | {"reason": next(iter(group["reason"].dropna()), "no task has a defined value here")}
    row |= {"dimensions_99": dimensions.mean(), "median": np.median(dimensions)} | interval(dimensions)._asdict()
    row |= {name: group[name].mean() for name in ("participation_ratio", "effective_rank")}
    if is_base or not len(difference):
        return row
    low, high = interval(difference)
    return row | {"difference": np.median(difference), "difference_low": low, "difference_high": high}
