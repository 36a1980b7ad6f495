"""The figures of the report as matplotlib figures, from the results of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mossa.errors import DataError, choices
from mossa.report.figure_list import ReportFigure, all_figures
from mossa.report.figures.style import root

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mossa.api.results import Results


class Plots:
    """One method per figure, which returns a matplotlib `Figure`; one that cannot be drawn raises `DataError`.

    `estimator` is the similarity to read; default: debiased linear CKA, else the first of the run.
    """

    def __init__(self, results: Results) -> None:
        self._results = results

    def layers(self, by: Literal["cluster", "task"] | None = None, estimator: str | None = None) -> Figure:
        """Draw similarity to the controls per layer (figure 2), per task cluster (figure 3) or per task."""
        names = {None: "layers", "cluster": "clusters", "task": "heatmap"}
        if by not in names:
            raise DataError(f"by is {by!r}. {choices(str(by), ('cluster', 'task'))} Without it, over all tasks.")
        return self._draw(names[by], estimator)

    def unseen(self, estimator: str | None = None) -> Figure:
        """Draw similarity to the controls of held-out tasks (figure 7)."""
        return self._draw("unseen", estimator)

    def encoded(self, estimator: str | None = None) -> Figure:
        """Draw how close the base already was to the specialist of each task, ranked."""
        return self._draw("encoded", estimator)

    def projection(self) -> Figure:
        """Draw the map of the prompts of all tasks (figure 4)."""
        return self._draw("projection")

    def dimensionality(self) -> Figure:
        """Draw the dimensions that explain 99 % of the variance (figure 5)."""
        return self._draw("dimensionality")

    def correlates(self, estimator: str | None = None) -> Figure:
        """Draw what correlates with similarity over tasks (figure 6)."""
        return self._draw("correlates", estimator)

    def _draw(self, name: str, estimator: str | None = None) -> Figure:
        figure = self._figure(name, estimator)
        axes = figure.draw(figure.table)
        return root(axes[0] if isinstance(axes, list) else axes)

    def _figure(self, name: str, estimator: str | None) -> ReportFigure:
        findings = self._results.findings(estimator)
        if findings.curves.empty:
            self._results.similarity  # noqa: B018  # raises with the reason
        every = all_figures(findings, findings.estimator or str(findings.curves["estimator"].iloc[0]))
        figure = next(each for each in every if each.name == name)
        if figure.table.empty:
            raise DataError(f"{figure.title}: not drawn, because {figure.otherwise}.")
        return figure
