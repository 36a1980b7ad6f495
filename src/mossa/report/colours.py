"""One colour, dash and symbol per model, the same in every figure and on the page; clusters have other colours.

Every colour has a contrast of at least 3:1 with its background, and colour-blind readers can tell the first four models
apart: they differ in lightness, dash and symbol as well as in hue. A test measures both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Colours = Mapping[str, str]
"""A colour for every model."""

Marks = Mapping[str, tuple[str, str]]
"""A colour and a matplotlib marker for every cluster."""

BLUE, VERMILLION, PLUM, GREEN, PINK, OCHRE = "#0072B2", "#D55E00", "#4B1F6F", "#008060", "#B8478B", "#8A7000"
GREY = "#6F7680"
HUES = (BLUE, VERMILLION, PLUM, GREEN, PINK, OCHRE)
CLUSTER_HUES = ("#332288", "#117733", "#7A7A1F", "#CC6677", "#882255", "#2F8F80")
# The same hues for a dark background.
DARK = {
    BLUE: "#5AB0EA", VERMILLION: "#F58442", PLUM: "#E4C7F7", GREEN: "#1F9E7C", PINK: "#D9699F", OCHRE: "#D6C04A",
    GREY: "#A3ABB5", "#332288": "#8F86E0", "#117733": "#5DB974", "#7A7A1F": "#B5B548", "#CC6677": "#E08A98",
    "#882255": "#D477A8", "#2F8F80": "#5CC4B2",
}  # fmt: skip
MARKERS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross",
           "X": "x", "*": "star"}  # fmt: skip
"""matplotlib's name of every marker, and plotly's."""
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
"""matplotlib's name of every dash, and plotly's."""
BASE = "pretrained"
CEILING = "control"


class Style(NamedTuple):
    """How a model is drawn: colour, and matplotlib's marker and dash."""

    colour: str
    marker: str
    dash: str


def in_order(models: Iterable[str]) -> list[str]:
    """Return the distinct models: the base first, the others in their order, the agreement of two controls last."""
    distinct = list(dict.fromkeys(models))
    return sorted(distinct, key=lambda model: (model != BASE, model == CEILING))


def model_styles(models: Iterable[str]) -> dict[str, Style]:
    """Return a style for every model; the base is blue and the agreement of controls grey in every study."""
    tuned = [model for model in in_order(models) if model not in (BASE, CEILING)]
    marks, dashes = list(MARKERS), ["-", "-.", "--"]
    cycle = {
        model: Style(HUES[1 + i % (len(HUES) - 1)], marks[(1 + i) % len(marks)], dashes[i % len(dashes)])
        for i, model in enumerate(tuned)
    }
    return {BASE: Style(BLUE, "o", "-"), **cycle, CEILING: Style(GREY, "D", ":")}


def styles_of(models: Iterable[str], colours: Colours | None) -> dict[str, Style]:
    """Return the style of every model, in the order of `colours` where they are given."""
    styles = model_styles([*(colours or {}), *models])
    return {model: style._replace(colour=(colours or {}).get(model, style.colour)) for model, style in styles.items()}


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """Return the colour of every model."""
    return {model: style.colour for model, style in model_styles(models).items()}


def cluster_marks(clusters: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return (colour, matplotlib marker) for every cluster; from the 49th cluster on they repeat."""
    distinct, marks = sorted(set(clusters)), list(MARKERS)
    return {
        cluster: (CLUSTER_HUES[i % len(CLUSTER_HUES)], marks[i // len(CLUSTER_HUES) % len(marks)])
        for i, cluster in enumerate(distinct)
    }
