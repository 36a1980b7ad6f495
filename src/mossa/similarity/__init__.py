"""How similar two sets of representations of the same prompts are, layer by layer, with standard errors."""

from mossa.similarity.agreement import share_of_agreement
from mossa.similarity.cka import cka, similarity
from mossa.similarity.compare import compare
from mossa.similarity.layer_map import layer_map
from mossa.similarity.outliers import leave_out
from mossa.similarity.registry import ESTIMATORS, Estimator, View, register
from mossa.similarity.resampling import PermutationTest, permutation_test
from mossa.similarity.result import Comparison
from mossa.similarity.spectrum import LayerSpectrum, spectrum
from mossa.similarity.streaming import cka_of_batches

__all__ = [
    "ESTIMATORS",
    "Comparison",
    "Estimator",
    "LayerSpectrum",
    "PermutationTest",
    "View",
    "cka",
    "cka_of_batches",
    "compare",
    "layer_map",
    "leave_out",
    "permutation_test",
    "register",
    "share_of_agreement",
    "similarity",
    "spectrum",
]
