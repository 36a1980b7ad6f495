"""Results: every table, what is absent and why, sections, figures, and a report like that of the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import mossa
from mossa.api.tables import STEPS
from mossa.errors import DataError, RunFolderError
from mossa.store import provenance
from mossa.store.tables import TABLES
from tests.analysis.synthetic import ramp, steps
from tests.analysis.synthetic import world as sectioned
from tests.report.synthetic import world
from tests.run.command import Ran, tables


@pytest.fixture(scope="module")
def results(finished: tuple[Path, Ran]) -> mossa.Results:
    """Return the results of the small study."""
    return mossa.Results.load(finished[0] / "runs/small")


@pytest.fixture
def large(results: mossa.Results) -> mossa.Results:
    """Return results with the tables of a made-up study of many tasks, models and layers."""
    return mossa.Results(results.record, world(tasks=24, layers=12))


def test_every_table_is_a_property_and_as_it_was_written(results: mossa.Results, finished: tuple[Path, Ran]) -> None:
    written = tables(finished[0])
    assert set(STEPS) == set(TABLES) == set(written)
    for name, table in written.items():
        found = getattr(results, name)
        found = found.drop(columns="seconds") if name == "adapters" else found
        pd.testing.assert_frame_equal(found, table, check_exact=True, obj=name)


def test_results_say_what_they_are(results: mossa.Results) -> None:
    shown = repr(results)
    for word in (
        "small",
        "pretrained, sft, unseen",
        "4 in 2 clusters",
        "3 layers",
        "24 prompts",
        "cka-linear-debiased",
    ):
        assert word in shown, word
    assert shown.count("\n") < 10 and "failed" not in shown
    page = results._repr_html_()
    assert page.startswith("<table>") and "4 in 2 clusters" in page
    assert repr(results.answers) == results.answers
    assert all(f"* {sentence}" in results.answers.splitlines() for _, sentence in results.findings().answers)
    bare = mossa.Results(results.record, {"similarity": results.similarity})
    assert bare.missing and all(f"* {sentence}" in bare.answers.splitlines() for sentence in bare.missing)


def test_html_of_names_is_escaped(results: mossa.Results) -> None:
    odd = results.similarity.assign(estimator="<script>")
    assert "<script>" not in mossa.Results(results.record, {"similarity": odd})._repr_html_()


def test_results_need_neither_base_nor_data(finished: tuple[Path, Ran], results: mossa.Results, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(finished[0] / "runs/small", tmp_path / "moved"))
    text = (moved / "study.yaml").read_text()
    for place in (results.settings.base.model, results.settings.tasks.source):
        text = text.replace(place, "/nowhere/at/all")
    (moved / "study.yaml").write_text(text)
    shutil.rmtree(moved / "results")
    found = mossa.Results.load(moved)
    pd.testing.assert_frame_equal(found.similarity, results.similarity, check_exact=True)
    assert found.settings.base.model == "/nowhere/at/all"


def test_a_run_that_was_cut_short_gives_what_there_is(folder: Path, results: mossa.Results) -> None:
    units = folder / "runs/small/units"
    shutil.rmtree(units / "compare/first")
    shutil.rmtree(folder / "runs/small/results")
    part = mossa.Results.load(folder / "runs/small")
    whole = results.similarity
    left = whole[whole["task"] != "first"].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.similarity, left, check_exact=True)
    assert f"{len(part.status) - 1} of {len(part.status)} units done" in repr(part)
    shutil.rmtree(units / "compare")
    none = mossa.Results.load(folder / "runs/small")
    sentence = "no table 'spectrum': 4 of 4 units of the step 'compare' are not done (the first: compare again: missing"
    with pytest.raises(DataError) as raised:
        print(none.spectrum)
    assert sentence in str(raised.value)
    with pytest.raises(DataError, match="no table 'similarity'"):
        none.plot.layers()
    assert len(none.evaluation) == len(results.evaluation)


def test_units_of_another_study_are_not_taken_for_results(folder: Path, results: mossa.Results) -> None:
    """A run that was begun with other settings leaves old units, which are not what the record asks for."""
    study = mossa.Study.load(folder / "small.yaml", "recipe.learning_rate=1.0e+30", runs=folder / "runs")
    assert study.results().tables.keys() == {"tasks", "evaluation", "replies", "projection", "separability"}
    assert set(study.results().evaluation["model"]) == {"pretrained"}
    assert len(mossa.Results.load(folder / "runs/small").similarity) == len(results.similarity)


def test_a_folder_that_is_not_of_a_run_is_refused_with_how_to_fix_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"holds the run folders small: give one of them"):
        mossa.Results.load(folder / "runs")
    with pytest.raises(RunFolderError, match="is not a run folder"):
        mossa.Results.load(tmp_path / "nothing")
    run = folder / "runs/small"
    for text in ("{", "[]", '{"units": 1}', '{"units": [{"step": "../..", "key": "x"}], "prompts": {}}'):
        (run / "record.json").write_text(text)
        with pytest.raises(RunFolderError, match="cannot be read"):
            mossa.Results.load(run)
    (run / "record.json").unlink()
    with pytest.raises(RunFolderError, match="Run the study again"):
        mossa.Results.load(run)


def test_sections_are_those_of_the_analysis(results: mossa.Results) -> None:
    curve = ramp(12, (4, 8), 0.3)
    found = mossa.Results(results.record, sectioned(T=16, L=12, gain=curve, noise=0.005)).sections("sft")
    assert found.identifiable and found.reason is None and found.tasks == 16
    assert [(each.name, each.first, each.last) for each in found] == [
        ("shared", 1, 4),
        ("transition", 5, 8),
        ("refinement", 9, 12),
    ]
    assert found.transition is not None and found.transition.layers == [5, 6, 7, 8]
    assert found.transition.difference == pytest.approx(0.15, abs=0.01)
    assert found.refinement is not None and found.refinement.last_low is None
    assert found.shared is not None and found.shared.last_low is not None and found.shared.last_low <= 4
    assert list(found.table["name"]) == ["shared", "transition", "refinement"]
    assert "transition layers 5-8" in repr(found)
    two = mossa.Results(results.record, sectioned(T=16, L=12, gain=steps(12, (6,), (0.0, 0.3)), noise=0.005)).sections()
    assert two.transition is None and not two.identifiable and [each.name for each in two] == ["shared", "refinement"]
    assert two.refinement is not None and two.refinement.last == 12 and "not three" in repr(two)


def test_sections_that_cannot_be_told_say_why(results: mossa.Results) -> None:
    found = results.sections("sft")
    assert (
        list(found) == [] and "tasks; the rule needs 8" in str(found.reason) and "none can be identified" in repr(found)
    )
    assert results.sections("unseen").population == "seen"
    assert results.sections("unseen", population="held_out").tasks == 2
    with pytest.raises(DataError, match="Did you mean 'sft'"):
        results.sections("sfd")
    with pytest.raises(DataError, match="Name the model"):
        results.sections()
    with pytest.raises(DataError, match="no population"):
        results.sections("sft", population="held_out")
    with pytest.raises(DataError, match="no estimator"):
        results.sections("sft", estimator="cka")


def test_every_figure_can_be_had(large: mossa.Results) -> None:
    plot = large.plot
    names = [name for name in dir(plot) if not name.startswith("_")]
    assert names == ["correlates", "dimensionality", "encoded", "layers", "projection", "unseen"]
    for name in names:
        figure = getattr(plot, name)()
        assert isinstance(figure, Figure) and figure.axes, name
    clusters = plot.layers(by="cluster")
    titles = " ".join(axes.get_title(loc="left") for axes in clusters.axes).replace("\n", " ")
    kept_away = large.similarity.loc[large.similarity["held_out"], "task"].unique()  # of one model: not drawn for any
    drawn = large.similarity[~large.similarity["task"].isin(kept_away)]["cluster"].unique()
    assert all(cluster in titles for cluster in drawn) and len(drawn) == len(clusters.axes), titles
    assert clusters._repr_png_().startswith(b"\x89PNG")  # shown in a notebook without pyplot
    plain = plot.layers(estimator="cka-linear")
    assert plain.axes[0].get_ylabel() == "similarity to the specialist"
    with pytest.raises(DataError, match="by is 'model'"):
        plot.layers(by="model")  # pyright: ignore[reportArgumentType]


def test_a_figure_that_cannot_be_drawn_says_why(results: mossa.Results) -> None:
    bare = mossa.Results(results.record, {"similarity": results.similarity})
    with pytest.raises(DataError, match="not drawn, because the run holds no spectra"):
        bare.plot.dimensionality()


@pytest.mark.slow  # draws every figure in three formats
def test_the_report_is_that_of_the_run(
    results: mossa.Results, finished: tuple[Path, Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # outside a git repository too, which the report would name
    provenance._git.cache_clear()
    page = results.report(tmp_path / "out")
    provenance._git.cache_clear()
    assert page.read_bytes() == (finished[0] / "runs/small/report/index.html").read_bytes()


def test_absent_tables_say_how_to_get_them(results: mossa.Results) -> None:
    lacking = {name: table for name, table in results.tables.items() if name not in ("affinity", "layer_map")}
    bare = mossa.Results(results.record, lacking)
    with pytest.raises(DataError, match=r"similarity\.affinity: true"):
        print(bare.affinity)
    with pytest.raises(DataError, match="besides the base"):
        print(bare.layer_map)
