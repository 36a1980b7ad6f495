"""The drawn boxes, lines and cells of figures 2, 3, 5 and 6 stand where the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch

from mossa.report import figures
from mossa.report.colours import model_colours
from tests.report import redraw

NUMBERS = redraw.numbers()
COLOURS = model_colours(["pretrained", "sft"])


def boxes(axes: Axes, model: str) -> list[tuple[float, float]]:
    """Lower and upper edge of each box of one model, from left to right."""
    mine = [p for p in axes.patches if isinstance(p, PathPatch) and to_hex(p.get_facecolor()) == COLOURS[model].lower()]
    corners = sorted((p.get_path().vertices for p in mine), key=lambda v: np.asarray(v)[:, 0].mean())
    return [(np.asarray(v)[:, 1].min(), np.asarray(v)[:, 1].max()) for v in corners]


def strokes(axes: Axes, model: str, width: float) -> list[np.ndarray]:
    """The drawn lines of one model and width (medians are the thick ones), from left to right, as heights."""
    mine = [
        line for line in axes.lines if line.get_color() == COLOURS[model] and line.get_linewidth() == width
        and len(line.get_xdata()) == 2
    ]  # fmt: skip
    return [np.asarray(line.get_ydata(), float) for line in sorted(mine, key=lambda line: np.mean(line.get_xdata()))]


@pytest.mark.parametrize("name", redraw.MODELS)
def test_figure_2_draws_the_quartiles_medians_and_whiskers(name: str) -> None:
    first = 12  # above, ribbons are drawn
    table = redraw.box_table(NUMBERS["fig2"])
    axes = figures.layers(table[table["layer"].le(first)])
    given = {key: values[:first] for key, values in NUMBERS["fig2"][name].items() if isinstance(values, list)}
    model = redraw.MODELS[name]
    assert np.allclose(boxes(axes, model), np.column_stack([given["q1"], given["q3"]]), atol=1e-12)
    assert np.allclose([line[0] for line in strokes(axes, model, 1.3)], given["median"], atol=1e-12)
    whiskers = strokes(axes, model, 0.7)
    assert len(whiskers) == 2 * len(given["median"])
    drawn = np.array([[line.min(), line.max()] for line in whiskers]).reshape(-1, 4)
    height = np.subtract(given["q3"], given["q1"])
    low, high = np.array(given["whisker_low"]), np.array(given["whisker_high"])
    inside = (low >= given["q1"] - 1.5 * height) & (high <= given["q3"] + 1.5 * height)
    assert inside.mean() > 0.5
    assert np.allclose(drawn.min(axis=1)[inside], low[inside], atol=1e-12)
    assert np.allclose(drawn.max(axis=1)[inside], high[inside], atol=1e-12)


@pytest.mark.parametrize("name", redraw.MODELS)
def test_figure_2_in_full_draws_medians_and_ribbons_of_the_quartiles(name: str) -> None:
    axes = figures.layers(redraw.box_table(NUMBERS["fig2"]))
    given, model = NUMBERS["fig2"][name], redraw.MODELS[name]
    (line,) = [line for line in axes.lines if str(line.get_label()).startswith(f"{model} (")]
    assert np.allclose(np.asarray(line.get_ydata(), float), given["median"], atol=1e-12)
    (ribbon,) = [
        each
        for each in axes.collections
        if isinstance(each, FillBetweenPolyCollection) and to_hex(each.get_facecolor()[0]) == COLOURS[model].lower()
    ]
    heights = np.asarray(ribbon.get_paths()[0].vertices)[:, 1]
    assert {round(v, 9) for v in heights} >= {round(v, 9) for v in (*given["q1"], *given["q3"])}


def test_figure_3_draws_every_cluster_with_its_medians_and_quartiles() -> None:
    panels = figures.clusters(redraw.cluster_table(NUMBERS["fig3"]))
    titled = {panel.get_title(loc="left").split(" (n")[0].replace("\n", " "): panel for panel in panels}
    assert set(NUMBERS["fig3"]) <= set(titled)
    for cluster, by_model in NUMBERS["fig3"].items():
        panel = titled[cluster]
        lines = {line.get_label(): np.asarray(line.get_ydata(), float) for line in panel.lines}
        bands = [band for band in panel.collections if isinstance(band, FillBetweenPolyCollection)]
        for (name, given), band in zip(by_model.items(), bands, strict=True):
            assert np.allclose(lines[redraw.MODELS[name]], given["median"], atol=1e-12)
            heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
            assert np.isclose(heights.min(), min(given["q1"])) and np.isclose(heights.max(), max(given["q3"]))


def test_figure_5_draws_the_mean_dimensions() -> None:
    axes = figures.dimensionality(redraw.dimension_table(NUMBERS["fig5"]))
    lines = {str(line.get_label()).split(" (")[0]: np.asarray(line.get_ydata(), float) for line in axes.lines}
    for name, given in NUMBERS["fig5"].items():
        assert np.array_equal(lines[redraw.MODELS[name]], given)


def test_figure_6_draws_and_prints_every_correlation() -> None:
    table = redraw.correlate_table(NUMBERS["fig6"])
    axes = figures.correlates(table)
    mesh = next(artist for artist in axes.collections if isinstance(artist, QuadMesh))
    rows = [values for by_model in NUMBERS["fig6"].values() for values in by_model.values()]
    assert np.array_equal(np.asarray(mesh.get_array()), np.array(rows))
    printed = [float(text.get_text()) for text in axes.texts]
    assert np.allclose(printed, np.ravel(rows), atol=0.005)
