"""The paper's figures 2, 3, 5 and 6 drawn by our functions from numbers read off the published pictures.

The numbers are a JSON file of box statistics per layer and model (see `made_up_numbers` for its shape), named in the
environment variable MOSSA_PAPER_FIGURES; without it numbers of the same shape are made up, so that the drawing is
checked either way. To lay the redrawn figures beside the paper's:

    python -m tests.report.redraw numbers.json folder
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mossa.report import figures
from mossa.report.figures.style import root

MODELS = {"Llama 2": "pretrained", "Llama 2-SFT": "sft"}
TASKS = 41
"""Four times ten and one, so that the quartiles of evenly spaced quantiles are the given ones exactly."""


def made_up_numbers(layers: int = 32, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def box(_: str) -> dict[str, list[float]]:
        edges = np.sort(rng.uniform(0.6, 1, (5, layers)), axis=0)
        # Whiskers within 1.5 box heights, as any box plot has them.
        height = edges[3] - edges[1]
        low, high = np.maximum(edges[0], edges[1] - 1.5 * height), np.minimum(edges[4], edges[3] + 1.5 * height)
        names = ("whisker_low", "q1", "median", "q3", "whisker_high")
        return {n: values.tolist() for n, values in zip(names, (low, *edges[1:4], high), strict=True)}

    per_layer = {model: rng.uniform(-1, 1, layers).round(2).tolist() for model in MODELS}
    return {
        "fig2": {model: box(model) for model in MODELS},
        "fig3": {cluster: {model: box(model) for model in MODELS} for cluster in ("Translation", "Sentiment analysis")},
        "fig5": {model: rng.uniform(200, 1700, layers).tolist() for model in MODELS},
        "fig6": {"flesch_kincaid_grade": per_layer, "data_size": per_layer},
    }


def numbers() -> dict[str, Any]:
    named = os.environ.get("MOSSA_PAPER_FIGURES")
    return json.loads(Path(named).read_text(encoding="utf-8")) if named else made_up_numbers()


def box_table(boxes: dict[str, Any], cluster: str = "all") -> pd.DataFrame:
    """Return tasks whose quartiles and extremes at every layer are the given ones."""
    rows: list[dict[str, Any]] = []
    where = np.linspace(0, 1, TASKS)
    for name, box in boxes.items():
        edges = [box[key] for key in ("whisker_low", "q1", "median", "q3", "whisker_high")]
        for index, corners in enumerate(zip(*edges, strict=True)):
            values = np.interp(where, [0, 0.25, 0.5, 0.75, 1], corners)
            rows += [
                {
                    "experimental": MODELS[name],
                    "task": f"{cluster}-{place}",
                    "cluster": cluster,
                    "layer": index + 1,
                    "value": value,
                    "reason": None,
                }
                for place, value in enumerate(values)
            ]
    return pd.DataFrame(rows)


def cluster_table(found: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([box_table(boxes, cluster) for cluster, boxes in found.items()], ignore_index=True)


def dimension_table(found: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"model": MODELS[name], "layer": index + 1, "dimensions_99": value, "low": None, "high": None, "tasks": 60}
        for name, values in found.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def correlate_table(found: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {
            "experimental": MODELS[name],
            "correlate": correlate,
            "layer": index + 1,
            "correlation": value,
            "q_value": None,
        }
        for correlate, by_model in found.items()
        for name, values in by_model.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    axes = {
        "figure2": figures.layers(box_table(given["fig2"])),
        "figure3": figures.clusters(cluster_table(given["fig3"]))[0],
        "figure5": figures.dimensionality(dimension_table(given["fig5"])),
        "figure6": figures.correlates(correlate_table(given["fig6"])),
    }
    for name, drawn in axes.items():
        for path in figures.save(root(drawn), folder / name):
            print(path)


if __name__ == "__main__":
    main()
