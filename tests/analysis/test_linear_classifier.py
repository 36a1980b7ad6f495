"""The linear classifier is scikit-learn's logistic regression, without its overhead."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from mossa.analysis.linear_classifier import TOLERANCE, cross_predicted, fit


def _drawn(classes: int, n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    own = np.arange(n) % classes
    x = rng.normal(size=(n, d)) + rng.normal(size=(classes, d))[own]
    return x / x.std(), own


@pytest.mark.parametrize(("classes", "n", "d"), [(2, 40, 5), (2, 30, 29), (3, 60, 4), (10, 50, 49), (12, 240, 50)])
def test_it_finds_what_scikit_learn_finds(classes: int, n: int, d: int) -> None:
    x, own = _drawn(classes, n, d)
    theirs = LogisticRegression(max_iter=1000, tol=TOLERANCE).fit(x, own)
    weights = fit(x, own, classes)
    np.testing.assert_allclose(weights[:, :-1], theirs.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(weights[:, -1], theirs.intercept_, rtol=1e-6, atol=1e-8)
    labels = np.array([f"class {number}" for number in own], dtype=object)
    splits = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x, labels))
    expected = cross_val_predict(LogisticRegression(max_iter=1000, tol=TOLERANCE), x, labels, cv=splits)
    found = cross_predicted(x, labels, splits)
    assert (found == expected).all() and 1.5 / classes < (found == labels).mean() <= 1


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_class_that_no_row_was_learned_of_is_never_predicted(left_out: int) -> None:
    x, own = _drawn(3, 60, 4)
    labels = np.array(["a", "b", "c"])[own]
    learned = np.flatnonzero(own[:30] != left_out)
    tested = np.arange(30, 60)
    theirs = LogisticRegression(max_iter=1000, tol=TOLERANCE).fit(x[learned], labels[learned])
    found = cross_predicted(x, labels, [(learned, tested)])[tested]
    assert (found == theirs.predict(x[tested])).all() and "abc"[left_out] not in found
