"""Read similarities against what two controls of one task reach, and test differences over tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from mossa.errors import SimilarityError

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def share_of_ceiling(value: float, ceiling: float, null: float = 0.0) -> float:
    """Return (value - null) / (ceiling - null): 1 where a model is as close as two controls of the task are.

    `ceiling`: the similarity of two controls of this task that differ in their seed. `null`: what is reached without
    having learned the task, such as the mean similarity to controls of other tasks on these prompts. Report the raw
    value beside it. Raises SimilarityError where the ceiling is not above the null, since no share exists there.
    """
    if not ceiling > null:
        raise SimilarityError(
            f"the ceiling {ceiling:.3g} is not above the null {null:.3g}: two controls of this task are no more alike "
            "than that, so no share of it exists. Train the controls longer or on more examples."
        )
    return (value - null) / (ceiling - null)


def signed_rank(differences: Matrix) -> tuple[Matrix, Matrix]:
    """Test per layer whether differences over tasks, [T, L], are centred on 0; return p and q values, [L] each.

    p: Wilcoxon's signed-rank test, two-sided; tasks are the replicates. q: Benjamini and Hochberg (1995) over layers:
    among layers with q <= .05 at most 5 % are expected to be false. Raises SimilarityError for values not finite (drop
    such tasks from all layers first) and for fewer than 6 tasks, which cannot reach p <= .05 by any outcome.
    """
    from scipy.stats import false_discovery_control, wilcoxon

    def wilcoxon_p(layer: Matrix) -> float:
        result: Any = wilcoxon(layer)
        return float(result.pvalue)

    tasks, _ = differences.shape
    if tasks < 6:
        raise SimilarityError(f"T = {tasks} tasks cannot reach p <= .05 by a signed-rank test; it needs 6 or more.")
    if not np.isfinite(differences).all():
        raise SimilarityError("`differences` has values that are not finite; drop those tasks from all layers first.")
    p = np.array([wilcoxon_p(layer) if layer.any() else 1.0 for layer in differences.T])
    return p, np.asarray(false_discovery_control(p))
