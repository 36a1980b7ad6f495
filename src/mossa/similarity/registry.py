"""Every estimator by its id: what it measures, where it comes from and what leaves it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from mossa.errors import SimilarityError, choices
from mossa.similarity import relatives
from mossa.similarity.resampling import calibrated

if TYPE_CHECKING:
    from torch import Tensor

Grouping = Literal["fixed", "within", "sampled", "means"]
GROUPINGS = ("fixed", "within", "sampled", "means")
INVARIANCES = ("translation", "isotropic scaling", "orthogonal", "dimension scaling", "invertible linear")


@dataclass(frozen=True)
class View:
    """How CKA treats representations: the kernel, the preprocessing, and the meaning of groups of prompts.

    `grouping` says what the groups are. `fixed`: all there are of them, and the prompts of each are a sample. `within`:
    each group's mean is removed. `sampled`: themselves a sample, so the standard error leaves out a group at a time.
    `means`: only the mean of each group is compared.
    """

    kernel: str = "linear"
    zscored: bool = False  # every dimension divided by its standard deviation
    grouping: Grouping = "fixed"
    shift: bool = False  # less the origin's representations: changes are compared
    bandwidth: float = 1.0  # of the RBF kernel, as a fraction of the median distance between prompts
    degree: int = 3  # of the polynomial kernel

    def __post_init__(self) -> None:
        if self.grouping not in GROUPINGS:
            raise SimilarityError(f"grouping is {self.grouping!r}. {choices(self.grouping, GROUPINGS)}")


@dataclass(frozen=True)
class Estimator:
    """One way to compare two sets of representations of the same prompts.

    `measure` takes two tensors [n, d] of the same prompts and returns a number, or raises SimilarityError with the
    reason why there is none. CKA has a `view` instead: estimators with the same view share their products.
    `invariances`, out of INVARIANCES, are the maps of either side that leave the value unchanged.
    """

    id: str
    reference: str
    invariances: frozenset[str]
    measure: Callable[[Tensor, Tensor], float] | None = None
    view: View | None = None
    debiased: bool = False
    symmetric: bool = True
    higher_is_closer: bool = True

    def __post_init__(self) -> None:
        unknown = self.invariances - set(INVARIANCES)
        if unknown:
            raise SimilarityError(f"{self.id}: {choices(min(unknown), INVARIANCES)}")
        if (self.measure is None) == (self.view is None):
            raise SimilarityError(f"{self.id}: give a `measure`, a function of two [n, d], or a `view` for CKA.")


SHAPE = frozenset({"translation", "isotropic scaling", "orthogonal"})
RARE = ("rbf-demo", "distance")
KERNELS = ("linear", "rbf", "polynomial", *RARE)
SOURCES = {
    "plain": "Kornblith et al. 2019, equation 3",
    "debiased": "Song et al. 2012, equation 5",
    "rbf-demo": "Kornblith et al. 2019, the bandwidth of their public demo",
    "distance": "Székely et al. 2007, squared distance correlation; debiased, Székely and Rizzo 2014",
}


def cka_id(view: View, debiased: bool) -> str:
    """Return the id of CKA with this view; it names what differs from the default."""
    id = "shift-" * view.shift + f"cka-{view.kernel}" + "-zscored" * view.zscored
    return id + f"-{view.grouping}" * (view.grouping != "fixed") + "-debiased" * debiased


def _cka() -> list[Estimator]:
    found: list[Estimator] = []
    for shift, kernel, zscored, grouping, debiased in product(
        (False, True), KERNELS, (False, True), GROUPINGS, (False, True)
    ):
        if (zscored or kernel != "linear") and (grouping in ("sampled", "means") or (zscored and kernel in RARE)):
            continue  # `cka` can do these; ids for all of them would only make the list longer
        view = View(kernel, zscored, grouping, shift)
        found.append(
            Estimator(
                cka_id(view, debiased),
                SOURCES.get(kernel, SOURCES["debiased" if debiased else "plain"]),
                frozenset({"translation", "isotropic scaling", "dimension scaling"}) if zscored else SHAPE,
                view=view,
                debiased=debiased,
            )
        )
    return found


def _relatives() -> list[Estimator]:
    return [
        Estimator("rv", "Robert and Escoufier 1976; the same number as cka-linear", SHAPE, view=View()),
        Estimator("svcca", "Raghu et al. 2017", SHAPE, relatives.svcca),
        Estimator(
            "pwcca",
            "Morcos et al. 2018",
            frozenset({"translation", "isotropic scaling"}),
            relatives.pwcca,
            symmetric=False,
        ),
        Estimator(
            "distance-correlation",
            "Székely et al. 2007; the square root of cka-distance",
            SHAPE,
            relatives.distance_correlation,
        ),
        Estimator(
            "cka-linear-calibrated",
            "Gröger et al. 2026 (arXiv 2602.14486), 200 permutations",
            SHAPE,
            calibrated,
            symmetric=False,
        ),
        Estimator("procrustes", "Williams et al. 2021", SHAPE, relatives.procrustes, higher_is_closer=False),
        Estimator(
            "procrustes-angular", "Williams et al. 2021", SHAPE, relatives.procrustes_angular, higher_is_closer=False
        ),
        Estimator("rsa-pearson", "Kriegeskorte et al. 2008", SHAPE, relatives.rsa_pearson),
        Estimator("rsa-spearman", "Kriegeskorte et al. 2008", SHAPE, relatives.rsa_spearman),
        Estimator(
            "mutual-knn", "Huh et al. 2024", frozenset({"isotropic scaling", "orthogonal"}), relatives.mutual_neighbours
        ),
        Estimator(
            "linear-regression-r2", "Kornblith et al. 2019, table 1", SHAPE, relatives.regression_r2, symmetric=False
        ),
    ]


ESTIMATORS: dict[str, Estimator] = {e.id: e for e in [*_cka(), *_relatives()]}
SHIPPED = frozenset(ESTIMATORS)  # the others were registered in this process, and no other knows them


def register(estimator: Estimator) -> None:
    """Add an estimator of your own; an id that exists already raises SimilarityError."""
    if estimator.id in ESTIMATORS:
        raise SimilarityError(f"The estimator {estimator.id!r} exists already; give yours another id.")
    ESTIMATORS[estimator.id] = estimator


def estimator(id: str) -> Estimator:
    """Return the estimator with this id; an unknown one raises SimilarityError and lists the choices."""
    if id not in ESTIMATORS:
        raise SimilarityError(f"There is no estimator {id!r}. {choices(id, ESTIMATORS)}")
    return ESTIMATORS[id]
