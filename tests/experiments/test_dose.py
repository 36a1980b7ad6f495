"""What two runs' curves differ in is found in the layer where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.dose import changes


def curves(tuned: np.ndarray) -> pd.DataFrame:
    """Return curves of a base and of a model `tuned` `[T, L]` above it."""
    rows = [
        {"experimental": name, "task": f"t{task}", "layer": layer + 1, "value": value}
        for name, values in (("pretrained", np.zeros_like(tuned)), ("sft", tuned))
        for (task, layer), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows).assign(relation="control", estimator="cka-linear-debiased", references=1)


def test_a_change_that_depends_on_the_dose_is_found_where_it_is() -> None:
    drawn = np.random.default_rng(0)
    first = drawn.normal(0, 0.1, (12, 5))
    second = first + drawn.normal(0, 0.01, (12, 5))
    second[:, 3] -= 0.2
    found = changes(curves(first), curves(second), "sft")
    assert found.index[found["q_value"] < 0.05].tolist() == [4]
    np.testing.assert_allclose(found[["low", "high"]].to_numpy()[3], -0.2, atol=0.03)
    np.testing.assert_allclose(found["first"], np.median(first, axis=0))
    assert changes(curves(first), curves(first), "sft")["q_value"].isna().all()  # no difference at all: no test
