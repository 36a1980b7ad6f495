"""One colour per model and one colour with marker per cluster, the same in every figure and on the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Colours = Mapping[str, str]
"""A colour for every model."""

Marks = Mapping[str, tuple[str, str]]
"""A colour and a matplotlib marker for every cluster."""

# Okabe and Ito (2008), without black (text) and yellow (invisible on white).
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
HUES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
GREY = "#7A7A7A"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
BASE = "pretrained"
CEILING = "control"


def in_order(models: Iterable[str]) -> list[str]:
    """Return the distinct models: the base first, then as they come, the noise ceiling last."""
    distinct = list(dict.fromkeys(models))
    return sorted(distinct, key=lambda model: (model != BASE, model == CEILING))


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """Return a colour for every model; the base is blue and the noise ceiling grey in every study."""
    tuned = [model for model in in_order(models) if model not in (BASE, CEILING)]
    cycle = {model: HUES[1 + index % (len(HUES) - 1)] for index, model in enumerate(tuned)}
    return {BASE: BLUE, **cycle, CEILING: GREY}


def cluster_marks(clusters: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return (colour, matplotlib marker) for every cluster; 48 clusters are told apart, the next repeat them."""
    distinct = sorted(set(clusters))
    return {
        cluster: (HUES[index % len(HUES)], MARKERS[index // len(HUES) % len(MARKERS)])
        for index, cluster in enumerate(distinct)
    }
