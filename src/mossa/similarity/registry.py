"""Every estimator by its id: what it measures, where it comes from and what leaves it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from mossa.errors import SimilarityError, choices
from mossa.similarity import relatives

if TYPE_CHECKING:
    from torch import Tensor

INVARIANCES = ("translation", "isotropic scaling", "orthogonal", "dimension scaling", "invertible linear")


@dataclass(frozen=True)
class View:
    """How CKA looks at representations: the kernel, and what is done to them before."""

    kernel: str = "linear"
    zscored: bool = False  # every dimension divided by its standard deviation
    within: bool = False  # less the mean of the prompt's group
    shift: bool = False  # less the origin's representations: changes are compared
    bandwidth: float = 1.0  # of the RBF kernel, as a fraction of the median distance between prompts
    degree: int = 3  # of the polynomial kernel


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
LINEAR = SHAPE | {"dimension scaling", "invertible linear"}


def _cka() -> list[Estimator]:
    found: list[Estimator] = []
    for shift, kernel, zscored, within, debiased in product(
        (False, True), ("linear", "rbf", "polynomial"), (False, True), (False, True), (False, True)
    ):
        id = f"cka-{kernel}" + "-zscored" * zscored + "-within" * within + "-debiased" * debiased
        found.append(
            Estimator(
                "shift-" * shift + id,
                "Song et al. 2012, equation 5" if debiased else "Kornblith et al. 2019, equation 3",
                frozenset({"translation", "isotropic scaling", "dimension scaling"}) if zscored else SHAPE,
                view=View(kernel, zscored, within, shift),
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
