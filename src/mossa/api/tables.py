"""The tables of a run by name; one that is absent says why, and how to get it."""

from __future__ import annotations

import pandas as pd

from mossa.errors import DataError
from mossa.store.folder import Status
from mossa.store.record import Record

STEPS = {
    "similarity": "compare",
    "difference": "compare",
    "spectrum": "compare",
    "evaluation": "evaluate",
    "replies": "evaluate",
    "adapters": "train",
    "tasks": "describe",
    "projection": "overview",
    "separability": "overview",
    "layer_map": "overview",
    "affinity": "affinity",
    "dendrogram": "affinity",
    "place": "place",
}
OTHERWISE = {
    "adapters": "every model of the study was there already, so none was trained",
    "difference": "the study has no experimental model besides the base; add one under experimental",
    "layer_map": "the study has no experimental model besides the base; add one under experimental",
    "affinity": "the study does not ask for it; set similarity.affinity: true and run it again",
    "dendrogram": "the study does not ask for it; set similarity.affinity: true and run it again",
    "place": "the study does not ask for it; set place: true and run it again",
}


class Tables:
    """The tables of docs/project/architecture.md, one property each; each returns the table itself, not a copy."""

    record: Record
    status: dict[str, Status]
    tables: dict[str, pd.DataFrame]

    @property
    def similarity(self) -> pd.DataFrame:
        """Return one row per (experimental, relation, reference, task, layer, estimator)."""
        return self._table("similarity")

    @property
    def difference(self) -> pd.DataFrame:
        """Return an experimental model minus the base, per (experimental, task, layer, estimator)."""
        return self._table("difference")

    @property
    def evaluation(self) -> pd.DataFrame:
        """Return loss and accuracy per (model, task)."""
        return self._table("evaluation")

    @property
    def replies(self) -> pd.DataFrame:
        """Return what every model answers to a few test prompts, per (model, task, prompt)."""
        return self._table("replies")

    @property
    def adapters(self) -> pd.DataFrame:
        """Return one row per adapter trained, with its dose."""
        return self._table("adapters")

    @property
    def spectrum(self) -> pd.DataFrame:
        """Return dimensionalities per (model, task, layer)."""
        return self._table("spectrum")

    @property
    def tasks(self) -> pd.DataFrame:
        """Return one row per task, with its counts and readability."""
        return self._table("tasks")

    @property
    def projection(self) -> pd.DataFrame:
        """Return a point per (model, layer, prompt)."""
        return self._table("projection")

    @property
    def separability(self) -> pd.DataFrame:
        """Return how well a classifier reads off each label, per (model, layer, label)."""
        return self._table("separability")

    @property
    def layer_map(self) -> pd.DataFrame:
        """Return every layer of one model against every layer of another, per task."""
        return self._table("layer_map")

    @property
    def affinity(self) -> pd.DataFrame:
        """Return how similar the controls of two tasks are, per (task, other, layer)."""
        return self._table("affinity")

    @property
    def dendrogram(self) -> pd.DataFrame:
        """Return how tasks merge by affinity."""
        return self._table("dendrogram")

    @property
    def place(self) -> pd.DataFrame:
        """Return where each experimental model acts, per (experimental, task, layer, reading)."""
        return self._table("place")

    def _table(self, name: str) -> pd.DataFrame:
        found = self.tables.get(name)
        if found is not None and not found.empty:
            return found
        step = STEPS[name]
        units = [unit for unit in self.record.units.values() if unit.step == step]
        waiting = [unit for unit in units if self.status[unit.id].state != "done"]
        if waiting:
            state = self.status[waiting[0].id]
            why = (
                f"{len(waiting)} of {len(units)} units of the step {step!r} are not done (the first: "
                f"{waiting[0].title}: {state.state}: {state.why}). Run the study again; what is done is kept"
            )
        else:
            why = OTHERWISE.get(name, f"the step {step!r} gave no rows")
        raise DataError(f"The run {self.record.study.name} has no table {name!r}: {why}.")
