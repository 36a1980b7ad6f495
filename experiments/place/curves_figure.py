"""What the first and the last layers of a model are worth alone: medians over tasks, one panel per kind of target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.place.grafts import curves_folder
from mossa.report.colours import HUES

PANELS = {True: "the answer alone", False: "with the token that ends it"}


def draw_curves(run: Path, target: Path) -> None:
    """Draw from the tables in `curves/` and `answer-curves/` of a run folder how much of the gain layers give alone."""
    figure = Figure((7.2, 2.9), layout="constrained", dpi=300)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (answers, title) in zip(axes, PANELS.items(), strict=True):
        tables = [pd.read_parquet(path) for path in sorted((run / curves_folder(answers)).glob("*.parquet"))]
        for colour, (reading, words) in zip(
            HUES, {"first-k": "layers 1 to k", "last-k": "layers k to L"}.items(), strict=False
        ):
            shares = np.array([share for table in tables if (share := _share(table, reading)) is not None])
            low, middle, high = np.quantile(shares, [0.25, 0.5, 0.75], axis=0)
            layers = np.arange(1, shares.shape[1] + 1)
            axis.set_title(f"{title}, {len(shares)} tasks", fontsize=9, loc="left")
            axis.plot(layers, middle, color=colour, label=words)
            axis.fill_between(layers, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set_xlabel("layer k")
        axis.axhline(1, color="0.7", linewidth=0.8, zorder=0)
        axis.set_ylim(0, 1.1)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of the gain, alone")
    axes[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(0, 0.68))
    figure.savefig(target)


def _share(table: pd.DataFrame, reading: str) -> np.ndarray | None:
    """Return by layer k what the layers up to k, or from k on, give of the whole gain; None where there is no gain."""
    steps = table[table["reading"].eq(reading)].sort_values("layer")["value"].to_numpy(float)
    if not np.isfinite(steps).all():
        return None
    summed = np.cumsum(steps) if reading == "first-k" else np.cumsum(steps[::-1])[::-1]
    return summed / steps.sum()
