"""Numbers you can defend: how alike two sets of representations of the same prompts are, layer by layer."""

from mossa.similarity.compare import Comparison, compare
from mossa.similarity.registry import ESTIMATORS, Estimator, register
from mossa.similarity.spectrum import LayerSpectrum, spectrum

__all__ = ["ESTIMATORS", "Comparison", "Estimator", "LayerSpectrum", "compare", "register", "spectrum"]
