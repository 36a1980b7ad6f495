"""The agreement of two controls, and the share that is read against it."""

from __future__ import annotations

import numpy as np
import pytest

from mossa.similarity import cka
from mossa.similarity.agreement import FLOOR, share_of_agreement, why_no_share


def test_a_perfect_model_has_a_share_of_one_however_noisy_the_controls():
    random = np.random.default_rng(0)
    for noise in (0.3, 1.0, 1.4):
        S = random.normal(size=(1000, 12))
        C = [S + noise * random.normal(size=S.shape) for _ in range(2)]
        E = [S + 0.8 * random.normal(size=S.shape) for _ in range(2)]
        agreement, own = (cka(*pair, debiased=True).value for pair in (C, E))
        value = cka(S, C[0], debiased=True).value
        assert value > 1.05 * agreement  # so it is not a ceiling
        assert share_of_agreement(value, agreement) == pytest.approx(1, abs=0.06)
        assert share_of_agreement(cka(E[0], C[0], debiased=True).value, agreement, own) == pytest.approx(1, abs=0.06)


def test_below_the_floor_there_is_no_share_and_a_reason():
    assert share_of_agreement(0.3, 0.36) == pytest.approx(0.5)
    shares = share_of_agreement(np.full(4, 0.2), np.array([0.04, FLOOR, np.nan, 0.25]), np.array([1.0, 1.0, 1.0, 0.05]))
    assert np.isfinite(shares).tolist() == [False, True, False, False]
    assert share_of_agreement(0.1, 0.04, floor=0.0) == pytest.approx(0.5)
    assert why_no_share(0.04) == "two controls of this task agree to 0.04; a share needs an agreement of 0.1 or more"
    assert why_no_share(0.25, 0.05).startswith("two seeds of this model agree to 0.05")
    assert "have no similarity" in why_no_share(float("nan"))
    assert why_no_share(0.25) is None
    assert why_no_share(0.25, 0.5) is None
