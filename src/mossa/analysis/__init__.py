"""From the tables of a run to the answers people read: tables in, tables out."""

from mossa.analysis.affinity import affinity, dendrogram
from mossa.analysis.findings import Findings, analyse
from mossa.analysis.layer_map import layer_map
from mossa.analysis.projection import projection
from mossa.analysis.readability import readability
from mossa.analysis.sections import find_sections
from mossa.analysis.separability import separability

__all__ = [
    "Findings",
    "affinity",
    "analyse",
    "dendrogram",
    "find_sections",
    "layer_map",
    "projection",
    "readability",
    "separability",
]
