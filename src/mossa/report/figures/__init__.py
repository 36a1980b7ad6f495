"""Static figures, each callable alone on a table with or without a matplotlib axis."""

from mossa.report.figures.boxes import clusters, layers, unseen
from mossa.report.figures.lines import change, dimensionality, place
from mossa.report.figures.maps import correlates, heatmap
from mossa.report.figures.points import encoded, performance, projection
from mossa.report.figures.style import FORMATS, save

__all__ = [
    "FORMATS",
    "change",
    "clusters",
    "correlates",
    "dimensionality",
    "encoded",
    "heatmap",
    "layers",
    "performance",
    "place",
    "projection",
    "save",
    "unseen",
]
