"""The linear classifier of separability: multinomial logistic regression, fitted as scikit-learn fits it.

scikit-learn spends most of a fit of 50 prompts on checks of its own; here are the same steps without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mossa.analysis.over_tasks import Floats

Ints = NDArray[np.intp]
TOLERANCE = 1e-3  # of the gradient; accuracies within .004 of those at 1e-4, in two thirds of the time
STEPS = {"maxiter": 1000, "maxls": 50, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps}  # scikit-learn's own


def cross_predicted(x: Floats, labels: NDArray[Any], splits: Iterable[tuple[Ints, Ints]]) -> NDArray[Any]:
    """Return the label `[n]` that each row of `x` `[n, d]` gets where it is tested, by what was learned elsewhere.

    `splits` are pairs of rows: learned from, and tested. The penalty is half the squared norm of the weights without
    the intercepts, against the sum of the losses in nats (`C` is 1).
    """
    predicted = np.empty_like(labels)
    for learned, tested in splits:
        classes, own = np.unique(labels[learned], return_inverse=True)
        weights = fit(x[learned], own, len(classes))
        predicted[tested] = classes[scores(weights, x[tested], len(classes)).argmax(axis=1)]
    return predicted


def fit(x: Floats, own: Ints, classes: int) -> Floats:
    """Return weights and intercepts `[classes, d + 1]` that tell the class `own` `[n]` of `x` `[n, d]`.

    Of two classes only the second has weights: `[1, d + 1]`.
    """
    rows = classes if classes > 2 else 1
    start = np.zeros(rows * (x.shape[1] + 1))
    found = minimize(partial(_loss, x, own, classes), start, jac=True, method="L-BFGS-B", options=STEPS)
    return found.x.reshape(rows, -1, order="F")


def scores(weights: Floats, x: Floats, classes: int) -> Floats:
    """Return the logit of every class `[n, classes]`; the first of two has 0."""
    found = np.zeros((len(x), classes))
    found[:, -len(weights) :] = x @ weights[:, :-1].T + weights[:, -1]
    return found


def _loss(x: Floats, own: Ints, classes: int, flat: Floats) -> tuple[float, Floats]:
    """Return the mean loss with its penalty, and its gradient by the weights, which are `flat` column by column."""
    n, strength = len(x), 1 / len(x)
    weights = flat.reshape(-1, x.shape[1] + 1, order="F")
    logits = scores(weights, x, classes)
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    totals = shares.sum(axis=1)
    at = np.arange(n), own
    loss = (np.log(totals) - logits[at]).sum() / n + strength / 2 * np.sum(weights[:, :-1] ** 2)
    shares /= totals[:, None]
    shares[at] -= 1
    shares = shares[:, -len(weights) :] / n
    gradient = np.empty_like(weights, order="F")
    gradient[:, :-1] = shares.T @ x + strength * weights[:, :-1]
    gradient[:, -1] = shares.sum(axis=0)
    return float(loss), gradient.ravel(order="F")
