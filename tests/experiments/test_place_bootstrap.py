"""The intervals of the trial of place: percentiles of resampled means, by value and by group."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.place.bootstrap import RESAMPLES, group_mean_words, interval, mean_words


def test_the_interval_of_a_mean_is_that_of_means_of_drawn_values() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.2, 17)
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert interval(len(values), lambda drawn: float(values[drawn].mean())) == pytest.approx((low, high), rel=1e-12)
    assert mean_words(values) == f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"
    assert mean_words([0.5, 0.5]) == "0.50 [0.50, 0.50]" and mean_words([]) == ""


def test_values_that_depend_on_each_other_are_drawn_together() -> None:
    groups = [[0.0] * 9, [1.0] * 9]
    assert group_mean_words(groups) == "0.50 [0.00, 1.00]"  # two independent things, however often each is measured
    alone = mean_words([value for group in groups for value in group])
    assert alone.startswith("0.50 [0.2")


def test_draws_without_a_value_do_not_count() -> None:
    found = interval(3, lambda drawn: float("nan") if len(set(drawn)) == 1 else float(len(set(drawn))))
    assert found == (2.0, 3.0)
