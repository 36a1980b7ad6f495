"""What the paired differences of tuned models and the base say, in words, and which sections they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mossa.analysis.change import HELD_OUT, TUNED
from mossa.analysis.over_tasks import LEVEL
from mossa.analysis.wording import brackets, extreme, layers_in_words, listed, signed

if TYPE_CHECKING:
    from mossa.analysis.findings import Findings


def of_estimator(table: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Return the rows of the estimator that is read."""
    return table[table["estimator"].eq(findings.estimator or "")]


def of_group(findings: Findings, group: str) -> dict[str, pd.DataFrame]:
    """Return, by model, the paired differences on a group of tasks; a held-out group is about models without it."""
    table = of_estimator(findings.common_change, findings)
    own = table[table["group"].eq(group) & table["median"].notna()].groupby("experimental", sort=False)
    without = group.removeprefix(HELD_OUT).split(" and ")
    return {str(model): rows for model, rows in own if group == TUNED or model in without}


def held_out_groups(findings: Findings) -> list[str]:
    """Return the groups of tasks that were held out of a model."""
    return [str(name) for name in findings.common_change["group"].unique() if str(name).startswith(HELD_OUT)]


def tested(own: pd.DataFrame) -> pd.Series:
    """Return the q values to read: over clusters where there are enough of them, because tasks of one cluster are not
    independent.
    """
    return own["cluster_q_value" if own["cluster_q_value"].notna().any() else "q_value"]


def moved(own: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the layers at which one model moved significantly `towards` the specialists, and `away from` them."""
    sure = own[tested(own).lt(LEVEL).fillna(False)]
    return {"towards": sure[sure["median"] > 0], "away from": sure[sure["median"] < 0]}


def change_words(own: pd.DataFrame) -> str:
    """Return what the paired differences of one model say: `moves towards … in layers 5-8 (…). No change …`."""
    most = _at(extreme(own, "median"))
    if tested(own).isna().all():
        why = next(iter(own["reason"].dropna()), "too few tasks")
        return f"cannot be tested ({why}); the largest median difference is {most}."
    parts = [_movement(way, rows) for way, rows in moved(own).items() if len(rows)]
    quiet = own[~tested(own).lt(LEVEL).fillna(False)]
    over = own["cluster_q_value"].notna().any()
    how = f" Tested over the means of {own['clusters'].max():.0f} clusters." if over else ""
    if not parts:
        return f"shows no detected change in {layers_in_words(list(own['layer']))}; the largest median is {most}.{how}"
    rest = f" No change detected in {layers_in_words(list(quiet['layer']))}." if len(quiet) else ""
    return f"moves {' and '.join(parts)}.{rest}{how}"


def _movement(way: str, rows: pd.DataFrame) -> str:
    least = extreme(rows, "median", smallest=True)
    span = "" if len(rows) == 1 else f"{signed(least['median'])} to "
    return f"{way} the specialists in {layers_in_words(list(rows['layer']))} ({span}{_at(extreme(rows, 'median'))})"


def _at(row: pd.Series) -> str:
    """Return the largest median with the interval that holds for all layers at once, if there are tasks enough."""
    return f"{signed(row['median'])}{brackets(row['widest_low'], row['widest_high'])} at layer {int(row['layer'])}"


def change_title(table: pd.DataFrame) -> str:
    """Return "sft moves towards the specialists in layers 5-8, unseen in layers 6-8" for rows of one group of tasks."""
    said: list[str] = []
    for model, own in table[table["median"].notna()].groupby("experimental", sort=False):
        if tested(own).isna().all():
            said.append(f"{model}: too few tasks to test")
            continue
        found = [
            f"{way} them in {layers_in_words(list(rows['layer']))}" for way, rows in moved(own).items() if len(rows)
        ]
        said.append(f"{model} moves {listed(found)}" if found else f"{model}: no change detected")
    return "; ".join(said).replace("them", "the specialists", 1) or "No tuned model was compared with the base"


def sections_of(findings: Findings, model: str) -> list[pd.Series]:
    """Return the row of `sections` of a model on the tasks it was tuned on, if there is one."""
    table = of_estimator(findings.sections, findings)
    own = table[table["experimental"].eq(model) & table["population"].isin(["seen", "all"]) & (table["tasks"] > 0)]
    return [row for _, row in own.sort_values("population", ascending=False).head(1).iterrows()]
