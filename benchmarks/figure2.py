"""What the sections rule says of the paper's figure 2, for curves of 60 tasks that have its published boxes.

The figure gives distributions per layer, not curves of tasks, so tasks are laid on the boxes: in the same order in both
models (ranks locked), in independent orders that keep over layers (free), or in orders between. Within a model a task
keeps its rank over layers.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mossa.analysis import find_sections

BOXES = Path(__file__).parents[1] / "tests" / "analysis" / "data" / "figure2.json"
Curves = NDArray[np.float64]


def like_figure_2(model: str, position: Curves) -> Curves:
    """Return curves `[T, L]`: the task at `position` (0 to 1) in the distribution of each layer's published box."""
    figure = json.loads(BOXES.read_text(encoding="utf-8"))[model]
    box = np.array([figure[name] for name in ("whisker_low", "q1", "median", "q3", "whisker_high")])
    return np.stack([np.interp(position, [0, 0.25, 0.5, 0.75, 1], at_layer) for at_layer in box.T], axis=1)


def differences(ranks: str, seed: int, T: int = 60) -> Curves:
    """Return tuned minus base `[T, L]` with task ranks `locked`, `between` or `free`."""
    rng = np.random.default_rng(seed)
    base = (np.arange(T) + 0.5) / T
    scores = {"locked": base, "free": rng.random(T), "between": base + rng.random(T)}[ranks]
    tuned = (scores.argsort().argsort() + 0.5) / T
    return like_figure_2("Llama 2-SFT", tuned) - like_figure_2("Llama 2", base)


def main() -> None:
    """Print how often each answer is given, over 20 draws of the ranks."""
    for ranks in ("locked", "between", "free"):
        answers: Counter[str] = Counter()
        for seed in range(20):
            found = find_sections(differences(ranks, seed), seed=seed)
            places = ", ".join(f"{each.layer} [{each.low}, {each.high}]" for each in found.boundaries)
            gradual = f"gradual from layer {found.gradual[0]} to {found.gradual[1]}" if found.gradual else found.reason
            answers[f"{found.sections}: {places or gradual}"] += 1
        for answer, count in answers.most_common():
            print(f"{ranks}: {count} of 20: {answer}")


if __name__ == "__main__":
    main()
