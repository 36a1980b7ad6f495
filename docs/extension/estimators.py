"""Every estimator, as a Markdown table: from the registry."""

from __future__ import annotations

from mossa.similarity import ESTIMATORS


def lines() -> list[str]:
    """Return a table with one row per estimator that comes with mossa."""
    written = ["| id | source | unchanged by | higher is | standard error |", "| --- | --- | --- | --- | --- |"]
    for id, estimator in ESTIMATORS.items():
        unchanged = ", ".join(sorted(estimator.invariances))
        closer = "closer" if estimator.higher_is_closer else "farther"
        error = "yes" if estimator.view else "no"
        written.append(f"| `{id}` | {estimator.reference} | {unchanged} | {closer} | {error} |")
    return written
