"""Static figures, each callable alone on a table with or without a matplotlib axis."""

from mossa.report.figures.boxes import clusters, layers, unseen
from mossa.report.figures.canvas import save
from mossa.report.figures.lines import dimensionality, sections
from mossa.report.figures.maps import correlates, heatmap
from mossa.report.figures.points import controls, dose, projection

__all__ = [
    "clusters",
    "controls",
    "correlates",
    "dimensionality",
    "dose",
    "heatmap",
    "layers",
    "projection",
    "save",
    "sections",
    "unseen",
]
