"""Every estimator by its id: what it measures, where it comes from and what leaves it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mossa.errors import SimilarityError, choices

Measure = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Estimator:
    """One way to compare two sets of representations of the same prompts.

    `measure` takes two matrices [n, d] of the same prompts; CKA estimators have none, they share their products.
    `invariances` are the maps of either side that leave the value unchanged: `orthogonal`, `isotropic scaling`,
    `dimension scaling`, `invertible linear`, `translation`.
    """

    id: str
    reference: str
    invariances: frozenset[str]
    higher_is_closer: bool = True
    measure: Measure | None = None
    kernel: str = "linear"
    debiased: bool = False
    within: bool = False
    zscored: bool = False
    shift: bool = False


_SHAPE = frozenset({"orthogonal", "isotropic scaling", "translation"})
_DIMENSIONS = frozenset({"dimension scaling", "translation"})
_REFERENCE = {
    False: "Kornblith et al. 2019; Zhao et al. 2024, section 2",
    True: "Song et al. 2012, equation 5",
}


def _cka_estimators() -> dict[str, Estimator]:
    found: dict[str, Estimator] = {}
    for shift in (False, True):
        for kernel in ("linear", "rbf", "polynomial"):
            for zscored in (False, True):
                for within in (False, True):
                    for debiased in (False, True):
                        name = "shift-" * shift + f"cka-{kernel}"
                        name += "-zscored" * zscored + "-within" * within + "-debiased" * debiased
                        found[name] = Estimator(
                            name,
                            _REFERENCE[debiased],
                            _DIMENSIONS if zscored else _SHAPE,
                            kernel=kernel,
                            debiased=debiased,
                            within=within,
                            zscored=zscored,
                            shift=shift,
                        )
    return found


ESTIMATORS: dict[str, Estimator] = _cka_estimators()


def register(estimator: Estimator) -> None:
    """Add an estimator of your own; an id that exists already raises SimilarityError."""
    if estimator.id in ESTIMATORS:
        raise SimilarityError(f"The estimator {estimator.id!r} exists already; give yours another id.")
    if estimator.measure is None:
        raise SimilarityError(f"The estimator {estimator.id!r} has no `measure`; give it a function of two [n, d].")
    ESTIMATORS[estimator.id] = estimator


def estimator(id: str) -> Estimator:
    """Return the estimator with this id; an unknown one raises SimilarityError and lists the choices."""
    if id not in ESTIMATORS:
        raise SimilarityError(f"There is no estimator {id!r}. {choices(id, ESTIMATORS)}")
    return ESTIMATORS[id]
