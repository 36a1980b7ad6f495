"""Laws of the static figures: everything defined is drawn once, the rest is counted, and the bytes repeat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from mossa.analysis import analyse
from mossa.analysis.wording import number
from mossa.errors import DataError
from mossa.report import figures
from mossa.report.colours import (
    BLUE,
    CLUSTER_HUES,
    DARK,
    GREY,
    HUES,
    cluster_marks,
    model_colours,
    model_styles,
)
from mossa.report.figure_list import available_figures
from mossa.report.figures.labels import in_lines
from mossa.report.figures.style import root
from mossa.report.page.map_charts import apart, leaf_order, relations_charts, specialists_chart
from mossa.report.select import common, reading, undefined, unseen
from mossa.report.titles import most_apart
from tests.report.incomplete import INCOMPLETE, studied
from tests.report.synthetic import world

names = st.text("abcxyz", min_size=1, max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """A small similarity table with holes."""
    value = st.one_of(st.none(), st.floats(0, 1))
    tasks, layers = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    models = draw(st.lists(st.sampled_from(["pretrained", "sft", "other"]), min_size=1, unique=True))
    rows = [
        {"experimental": model, "task": f"t{task}", "cluster": f"c{task % 2}", "layer": layer, "value": draw(value)}
        for model in models
        for task in range(tasks)
        for layer in range(1, layers + 1)
    ]
    table = pd.DataFrame(rows).assign(held_out=False, reason=None)
    table["value"] = table["value"].astype(float)
    table.loc[table["value"].isna(), "reason"] = "flat"
    return table


def heights(axes: Any, size: float) -> list[float]:
    """The heights of all points of one marker size."""
    drawn = [line.get_ydata() for line in axes.lines if line.get_marker() == "." and line.get_markersize() == size]
    return sorted(float(value) for line in drawn for value in line)


@settings(max_examples=12, deadline=None)
@given(tables())
def test_every_defined_value_is_a_point_and_every_undefined_one_is_counted(table: pd.DataFrame) -> None:
    axes = figures.layers(table)
    values = sorted(table["value"].dropna())
    assert heights(axes, 1.6) == values
    holes = int(table["value"].isna().sum())
    text = " ".join(text.get_text() for text in axes.texts)
    assert (f"{holes} of {len(table)} values are undefined and not drawn: flat ({holes})" in text) == (holes > 0)


@settings(max_examples=6, deadline=None)
@given(tables())
def test_the_panels_of_the_clusters_hold_all_points_together(table: pd.DataFrame) -> None:
    panels = figures.clusters(table)
    assert sorted(value for panel in panels for value in heights(panel, 1.4)) == sorted(table["value"].dropna())


@given(st.lists(names), st.lists(names))
def test_the_base_is_blue_the_ceiling_grey_and_no_tuned_model_either(first: list[str], more: list[str]) -> None:
    colours = model_colours(first)
    assert colours["pretrained"] == BLUE and colours["control"] == GREY
    assert all(colours[name] not in (BLUE, GREY) for name in first)
    assert model_colours([*first, *more]).items() >= colours.items()


@given(st.sets(names, max_size=48))
def test_clusters_are_told_apart_whatever_their_order(clusters: set[str]) -> None:
    marks = cluster_marks(sorted(clusters))
    assert len(set(marks.values())) == len(clusters)
    assert cluster_marks(sorted(clusters, reverse=True)) == marks


def test_unseen_keeps_the_held_out_tasks_for_their_models_and_the_base() -> None:
    rows = pd.DataFrame(
        [
            ("pretrained", "a", False), ("sft", "a", False), ("sft-unseen", "a", True), ("control", "a", False),
            ("pretrained", "b", False), ("sft", "b", False), ("sft-unseen", "b", False), ("control", "b", False),
        ],
        columns=["experimental", "task", "held_out"],
    )  # fmt: skip
    kept = unseen(rows)
    assert list(kept["experimental"]) == ["pretrained", "sft-unseen", "control"]
    assert set(kept["task"]) == {"a"}


def test_undefined_without_a_reason_says_so() -> None:
    rows = pd.DataFrame({"value": [np.nan, 0.5], "reason": [None, None]})
    assert undefined(rows) == "1 of 2 values are undefined and not drawn: no reason given (1)."


@pytest.mark.parametrize("draw", [figures.layers, figures.dimensionality, figures.correlates, figures.encoded])
def test_a_missing_column_is_named(draw: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"needs a column '\w+'; the table has other\."):
        draw(pd.DataFrame({"other": [1]}))


def test_two_rows_for_one_point_are_refused() -> None:
    similarity = world(tasks=2, layers=2, held_out=0)["similarity"]
    with pytest.raises(DataError, match="Choose one estimator"):
        figures.layers(similarity)


@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_odd_study_gives_the_figures_that_are_possible_and_says_which_are_not(name: str) -> None:
    _, findings = studied(name)
    available, missing = available_figures(findings, str(findings.estimator))
    assert {"layers", "clusters", "heatmap"} <= {figure.name for figure in available}
    assert all(" not drawn, because " in sentence for sentence in missing)
    for figure in available:
        drawn = figure.draw(figure.table)
        axes = drawn[0] if isinstance(drawn, list) else drawn
        root(axes).set_layout_engine("none")  # every artist is drawn all the same, in half of the time
        root(axes).draw_without_rendering()


def test_axes_of_the_caller_are_used_and_settings_stay() -> None:
    before = dict(matplotlib.rcParams)
    own = Figure().subplots()
    rows = world(tasks=3, layers=3, held_out=0)["similarity"].query(
        "estimator == 'cka-linear' and relation == 'control'"
    )
    assert figures.layers(rows, own) is own
    assert own.lines
    assert dict(matplotlib.rcParams) == before


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = world(tasks=4, layers=3, held_out=0)["similarity"].query(
        "estimator == 'cka-linear' and relation == 'control'"
    )
    written = [
        [path.read_bytes() for path in figures.save(root(figures.layers(rows)), tmp_path / name)] for name in ("a", "b")
    ]
    assert written[0] == written[1]
    assert written[0][0].startswith(b"%PDF") and b"<svg" in written[0][1] and written[0][2].startswith(b"\x89PNG")


def test_importing_the_report_loads_no_plotting_and_drawing_loads_no_pyplot() -> None:
    script = (
        "import sys, mossa.report\n"
        "heavy = {'matplotlib', 'plotly', 'jinja2', 'torch', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "mossa.report.figures.layers; mossa.report.write_report\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def encoded_table(values: list[float]) -> pd.DataFrame:
    rows = pd.DataFrame({"task": [f"t{i}" for i in range(len(values))], "cluster": "c", "value": values})
    return rows.assign(low=rows["value"] - 0.1, high=rows["value"] + 0.1, sham=0.5, agreement=np.nan)


@given(st.permutations([0.2, 0.4, 0.6, 0.8]))
@settings(max_examples=5, deadline=None)
def test_encoded_ranks_by_similarity_and_marks_what_was_taught(values: list[float]) -> None:
    axes = figures.encoded(encoded_table([*values]), taught=frozenset(["t1"]))
    drawn = {str(line.get_label()): sorted(line.get_xdata()) for line in axes.lines}
    assert drawn["the task's specialist, task taught to the base"] == [values[1]]
    assert drawn["the task's specialist"] == sorted({0.2, 0.4, 0.6, 0.8} - {values[1]})
    assert drawn["trained on shuffled answers"] == [0.5] * 4
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == [f"t{values.index(value)} · c" for value in (0.8, 0.6, 0.4, 0.2)]


def test_above_twelve_layers_ribbons_take_the_place_of_boxes() -> None:
    for layers, boxed in ((12, True), (13, False)):
        rows = reading(analyse(world(tasks=5, layers=layers, held_out=0)).curves, "cka-linear")
        axes = figures.layers(rows)
        assert bool(axes.patches) == boxed and bool(axes.collections) != boxed


def test_panels_of_the_change_hold_one_set_of_tasks_and_one_scale() -> None:
    findings = analyse(world(tasks=16, layers=4, held_out=6))
    table = findings.common_change[findings.common_change["estimator"].eq("cka-linear")]
    panels = figures.change(table)
    assert [panel.get_title(loc="left").split(" tasks")[0] for panel in panels] == ["10", "6"]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    for panel, (_, rows) in zip(panels, table.groupby("group", sort=False), strict=True):
        drawn = {str(line.get_label()): list(line.get_ydata()) for line in panel.lines}
        for model, part in rows.groupby("experimental"):
            assert drawn[str(model)] == list(part["median"])


def test_titles_conclude_with_numbers_of_their_table() -> None:
    rows = common(reading(analyse(world(tasks=9, layers=6)).curves, "cka-linear"))
    medians = rows[rows["experimental"].ne("control")].groupby(["layer", "experimental"])["value"].median().unstack()
    spread = medians.max(axis=1) - medians.min(axis=1)
    title = most_apart(rows)
    assert f"at layer {spread.idxmax()}:" in title
    assert all(f"{name} {number(value)}" in title for name, value in medians.loc[spread.idxmax()].items())


def luminance(colour: str) -> np.ndarray:
    """Linear red, green and blue of a colour."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours."""
    low, high = sorted(float(np.dot([0.2126, 0.7152, 0.0722], luminance(each))) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* under D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in matrix @ linear / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colours_stand_out_and_four_models_stay_apart_without_green_cones() -> None:
    deuteranopia = np.array(  # Machado, Oliveira and Fernandes (2009), severity 1
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )
    for colour, dark in DARK.items():
        assert contrast(colour, "#ffffff") >= 3 and contrast(dark, "#14171b") >= 3
    for palette in (HUES[:4], [DARK[hue] for hue in HUES[:4]]):
        seen = [lab(np.clip(deuteranopia @ luminance(colour), 0, 1)) for colour in palette]
        apart = [np.linalg.norm(one - other) for one, other in combinations(seen, 2)]
        assert min(apart) > 20


def test_models_differ_without_colour() -> None:
    styles = model_styles(["pretrained", "a", "b", "c"])
    assert len({(style.marker, style.dash) for style in styles.values()}) == 5
    assert set(CLUSTER_HUES).isdisjoint(HUES)


def test_affinity_puts_alike_tasks_together() -> None:
    alike = {("a", "c"), ("c", "a"), ("b", "d"), ("d", "b")}
    rows = [
        (1, one, other, 1.0 if one == other else 0.9 if (one, other) in alike else 0.1, 50, None)
        for one in "abcd"
        for other in "abcd"
    ]
    order = "".join(leaf_order(pd.DataFrame(rows, columns=["layer", "task", "other", "value", "n", "reason"])))
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}


def test_the_layer_map_averages_over_tasks() -> None:
    rows = [("base", "sft", task, i, j, (i + 10 * j + shift) / 100, 50, None)
            for task, shift in (("a", 0.0), ("b", 1.0)) for i in (1, 2) for j in (1, 2, 3)]  # fmt: skip
    columns = ["model", "other", "task", "layer", "other_layer", "value", "n", "reason"]
    findings = replace(analyse({}), layer_map=pd.DataFrame(rows, columns=columns))
    (chart,) = relations_charts(findings)
    (panel,) = chart.views[0].panels
    assert np.allclose(panel.data[0]["z"], [[0.115, 0.215, 0.315], [0.125, 0.225, 0.325]])


def test_a_control_that_did_not_learn_is_hollow() -> None:
    _, findings = studied("failed controls")
    chart = specialists_chart(findings, str(findings.estimator))
    assert chart is not None
    for view in chart.views:
        tasks = {trace["name"]: {name.split("-")[1] for name in trace["text"]} for trace in view.panels[0].data}
        assert tasks["did not learn"] == {"task04"} and len(tasks["learned"] - {"task04"}) == 9


def test_a_model_keeps_its_colour_in_every_figure_of_a_study() -> None:
    findings = analyse(world(tasks=9, layers=6))
    available, _ = available_figures(findings, str(findings.estimator))
    by_name = {figure.name: figure for figure in available}
    own = model_colours(findings.curves["experimental"])["sft-unseen"]
    for name in ("layers", "unseen", "clusters", "dimensionality", "change"):
        drawn = by_name[name].draw(by_name[name].table)
        panels = drawn if isinstance(drawn, list) else [drawn]
        lines = [line for axes in panels for line in axes.lines if str(line.get_label()).startswith("sft-unseen")]
        assert lines and {line.get_color() for line in lines} == {own}, name


def test_the_legend_of_the_clusters_names_models_that_the_first_panel_lacks() -> None:
    table = pd.DataFrame(
        {"experimental": ["pretrained", "pretrained", "sft"], "task": ["a", "b", "b"], "cluster": ["a", "b", "b"]}
    )
    panels = figures.clusters(table.assign(layer=1, value=0.5))
    assert [text.get_text() for text in root(panels[0]).legends[0].get_texts()] == ["pretrained", "sft"]


def test_the_legend_of_exact_match_names_every_model_in_its_own_colour() -> None:
    rows = [("sft", False), ("unseen", False), ("unseen", True)]
    table = pd.DataFrame(rows, columns=["experimental", "held_out"]).assign(
        task=["a", "a", "b"], gain=0.1, base_accuracy=0.1, tuned_accuracy=0.2, control_accuracy=0.3
    )
    (legend,) = root(figures.performance(table)[0]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["base", "sft", "unseen", "specialist"]


def test_a_long_name_breaks_after_an_underscore_and_a_number_stays_whole() -> None:
    lines = in_lines("reading_comprehension_commonsense (n\xa0=\xa02), layers 4-8", 24).split("\n")
    assert lines == ["reading_comprehension_", "commonsense (n\xa0=\xa02),", "layers 4-8"]


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=12))
def test_names_on_the_map_do_not_cover_each_other(centres: list[tuple[float, float]]) -> None:
    placed = apart(np.array(centres))
    span = max(1e-9, float(np.ptp(np.array(centres), axis=0).max()))
    for (x, y), (other_x, other_y) in combinations(placed, 2):
        assert abs(x - other_x) >= 0.39 * span or abs(y - other_y) >= 0.049 * span
    assert [x for x, _ in placed] == [x for x, _ in centres]


def test_a_dollar_sign_in_a_name_is_not_a_formula() -> None:
    table = pd.DataFrame({"experimental": "$\\frac$", "task": ["a"], "cluster": "$x", "layer": 1, "value": 0.5})
    for drawn in (figures.layers(table.assign(reason=None)), figures.clusters(table)[0]):
        root(drawn).draw_without_rendering()
