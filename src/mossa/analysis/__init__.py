"""From the tables of a run to the answers people read: tables in, tables out."""

from mossa.analysis.findings import Findings, analyse
from mossa.analysis.prompt_space import projection, separability
from mossa.analysis.readability import readability
from mossa.analysis.relations import affinity, dendrogram, layer_map
from mossa.analysis.sections import find_sections

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
