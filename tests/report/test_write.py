"""The whole report: files, size, repeatability, Markdown, and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mossa.analysis import analyse
from mossa.analysis.answers import QUESTIONS
from mossa.analysis.wording import number
from mossa.errors import DataError
from mossa.report import write_report
from mossa.report.against import Against, against_chart, compared, differing, exact_match
from mossa.report.figure_list import SECTIONS, available_figures, embedded, write_figures
from mossa.report.page.map_charts import MOST_POINTS, projection_chart
from mossa.report.page.render import PageSource, render, with_code
from mossa.report.page.rows import LONGEST_PROMPT, shorten
from mossa.report.write import markdown, safe
from tests.report.incomplete import SCRIPT
from tests.report.synthetic import rename, world

STUDY = {"name": "small", "base": "none", "note": SCRIPT}


def test_a_report_has_its_page_its_figures_and_the_tables_behind_them(tmp_path: Path) -> None:
    tables = rename(world(tasks=9, layers=6), "task07", SCRIPT)
    (tmp_path / "html" / "figures").mkdir(parents=True)
    (tmp_path / "html" / "figures" / "gone.png").touch()
    index = write_report(tables, tmp_path / "html", study=STUDY, provenance={"seed": 0})
    assert index == tmp_path / "html" / "index.html"
    names = {path.stem for path in (tmp_path / "html" / "tables").iterdir()}
    assert {"layers", "clusters", "unseen", "projection", "dimensionality", "correlates", "change"} <= names
    drawn = {path.name for path in (tmp_path / "html" / "figures").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    with ZipFile(tmp_path / "html" / "figures.zip") as packed:
        assert {name.removeprefix("figures/") for name in packed.namelist()} == drawn
    behind = pd.read_csv(tmp_path / "html" / "tables" / "layers.csv")
    assert SCRIPT in set(behind["task"]) and behind["value"].notna().all()


def test_for_paper_draws_pdf_and_one_column(tmp_path: Path) -> None:
    findings = analyse(world(tasks=9, layers=3))
    available = [
        each for each in available_figures(findings, str(findings.estimator))[0] if each.name in ("layers", "heatmap")
    ]
    write_figures(available, tmp_path, for_paper=True)
    names = ("layers", "layers-column", "heatmap")  # which has too many labels for one column
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("pdf", "svg", "png")
    }
    for name, inches in (("layers", 7.0), ("layers-column", 3.35)):
        with Image.open(tmp_path / "figures" / f"{name}.png") as figure:
            assert abs(figure.width / 300 - inches) < 0.02
    write_figures(available[:1], tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"layers.svg", "layers.png"}, "old ones stay"


def test_every_section_of_the_page_shows_the_figures_that_name_it(tmp_path: Path) -> None:
    tables = {"similarity": world(tasks=3, layers=2, held_out=0)["similarity"]}  # no charts of performance
    findings = analyse(tables)
    layers = next(each for each in available_figures(findings, str(findings.estimator))[0] if each.name == "layers")
    own = [layers._replace(name=f"of-{section}", title=f"in {section}", section=section) for section in SECTIONS]
    write_figures(own, tmp_path)
    source = PageSource(findings, str(findings.estimator), tables, STUDY, {}, {})
    page = render(source, own, [], embedded(own, tmp_path))
    for section in SECTIONS:
        part = page.split(f'<section id="{section}">', 1)[1].split("</section>", 1)[0]
        assert part.count("data:image/svg+xml") == 1 and f"in {section}" in part, section


def test_markdown_links_every_figure_and_answers_every_question() -> None:
    tables = rename(world(tasks=9, layers=6), "task07", SCRIPT)
    findings = analyse(tables)
    available, missing = available_figures(findings, "cka-linear-debiased")
    text = markdown(findings, "cka-linear-debiased", available, missing, STUDY, {"seed": 0})
    assert re.findall(r"\]\((figures/[^)]+)\)", text) == [f"figures/{figure.name}.png" for figure in available]
    assert all(f"## {question}" in text for question in QUESTIONS.values())
    outside_blocks = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not any("<script>" in line for line in outside_blocks)


def test_markdown_is_written_as_report_md(tmp_path: Path) -> None:
    tables = {"similarity": world(tasks=2, layers=2, held_out=0)["similarity"]}
    path = write_report(tables, tmp_path, study=STUDY, provenance={}, format="md")
    assert path == tmp_path / "report.md" and path.read_text().startswith("# small")
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"layers.svg", "layers.png"} <= drawn and not any(name.endswith((".pdf", "-column.png")) for name in drawn)


def test_the_page_of_a_large_study_stays_under_ten_megabytes() -> None:
    tables = world(tasks=60, layers=32)
    findings = analyse(tables)
    name = "cka-linear-debiased"
    available, missing = available_figures(findings, name)
    prompts = {task: [("word " * 1000, "target")] * 3 for task in tables["tasks"]["task"]}
    source = PageSource(findings, name, tables, STUDY, {}, prompts)
    page = render(source, available, missing)
    assert len(page.encode()) < 10_000_000
    own_part = page.split('id="data">')[0] + page.split('id="data">')[1].split("</script>")[0]
    assert set(re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", own_part)) == {"figures.zip", "tables.zip"}


def test_the_same_study_gives_the_same_page_and_long_names_may_break() -> None:
    tables = {
        name: table.assign(cluster="<a>_b") if "cluster" in table else table
        for name, table in world(tasks=3, layers=2, held_out=0).items()
    }
    findings = analyse(tables)
    source = PageSource(findings, str(findings.estimator), tables, STUDY, {}, {})
    page = render(source, [], [])
    assert page == render(source, [], [])
    assert "&lt;a&gt;_<wbr>b" in page and "&lt;wbr" not in page


def test_what_stands_between_backticks_is_code_and_nothing_from_outside_is_markup() -> None:
    sentence = with_code("<i>x</i>: train two with `control: {seeds: [0, 1]}` or `<b>`; a single ` stays")
    assert sentence == (
        "&lt;i&gt;x&lt;/i&gt;: train two with <code>control: {seeds: [0, 1]}</code> or <code>&lt;b&gt;</code>; "
        "a single ` stays"
    )


def test_a_large_projection_is_thinned_and_counted() -> None:
    tables = world(tasks=9, layers=3)
    points = pd.concat([tables["projection"]] * 20, ignore_index=True)
    chart = projection_chart(analyse({**tables, "projection": points}))
    assert chart is not None
    panels = [panel for view in chart.views for panel in view.panels]
    assert len(panels) == 6
    for panel in panels:
        drawn = sum(len(trace["x"]) for trace in panel.data)
        assert drawn <= MOST_POINTS and panel.title.endswith(f"{drawn:,} of {9 * 20 * 20:,} prompts drawn")


def test_two_runs_are_compared_on_the_tasks_they_share() -> None:
    ours, theirs = world(tasks=9, layers=4, held_out=0), world(tasks=12, layers=4, held_out=0, seed=1)
    one, other = analyse(ours), analyse(theirs)
    names = list(one.curves["task"].unique())
    table = compared(one, other).query("layer == 3").set_index("run")
    assert table["tasks"].to_dict() == {"this": 9, "other": 9, "difference": 9}
    wide = [
        run.curves.query("experimental == @model and layer == 3 and relation == 'control'")
        .query("estimator == 'cka-linear-debiased'")
        .set_index("task")["value"]
        for run in (one, other)
        for model in ("sft", "pretrained")
    ]
    expected = ((wide[0] - wide[1]) - (wide[2] - wide[3])).dropna()
    assert len(expected) == 9 and np.isclose(table.loc["difference", "median"], expected.median())
    chart = against_chart(one, Against("the other", other))
    assert "9 tasks in both runs" in chart.views[0].panels[0].title and "the other" in chart.title
    (told,) = exact_match(one, Against("the other", other))
    means = [run.performance.loc[run.performance["task"].isin(names), "tuned_accuracy"].mean() for run in (one, other)]
    assert told == f"sft: mean exact match {number(means[0])} here and {number(means[1])} there, on 9 tasks."
    with pytest.raises(DataError, match="share no tuned model"):
        compared(one, analyse(world(tasks=2, layers=2, held_out=0) | {"similarity": ours["similarity"].iloc[:0]}))


@pytest.mark.parametrize(("here", "there"), [(4, 12), (12, 4)])
def test_models_of_different_depth_are_compared_at_the_same_share_of_it(here: int, there: int) -> None:
    one, other = (analyse(world(tasks=9, layers=layers, held_out=0)) for layers in (here, there))
    table = compared(one, other)
    assert sorted(table["layer"].unique()) == [1, 2, 3, 4]
    for name, run in (("this", one), ("other", other)):
        layers = run.curves["layer"].max()
        expected = run.change.query("experimental == 'sft' and estimator == @run.estimator").set_index("layer")[
            "median"
        ]
        rows = table[table["run"] == name].set_index("layer")["median"]
        assert [rows[layer] for layer in (1, 2, 3, 4)] == [expected[layer * layers // 4] for layer in (1, 2, 3, 4)]
    how = against_chart(one, Against("other", other)).how
    assert f"This run has {here} layers and other {there}" in how and "same share of its depth" in how
    same = against_chart(one, Against("itself", one)).how
    assert "same share" not in same


def test_settings_in_which_two_runs_differ_are_told_with_both_values() -> None:
    ours = {"name": "a", "recipe": {"rank": 8, "rate": 0.1}, "tasks": {"only": ["x", "y"]}}
    theirs = {"name": "b", "recipe": {"rank": 16, "rate": 0.1}, "tasks": {"only": ["x"]}, "place": {}}
    assert differing(ours, ours) == []
    assert differing(ours, theirs) == [
        ("recipe.rank", "8", "16"), ("tasks.only", "x, y", "x"), ("place", "not set", "{}"),
    ]  # fmt: skip


def test_a_long_prompt_is_cut_in_the_middle_and_says_so() -> None:
    prompt = "".join(chr(97 + place % 26) for place in range(LONGEST_PROMPT + 500))
    short = shorten(prompt)
    assert short.startswith(prompt[:100]) and short.endswith(prompt[-100:]) and "500 characters not shown" in short
    assert shorten(prompt[:LONGEST_PROMPT]) == prompt[:LONGEST_PROMPT]


def test_markdown_shows_every_mark_as_itself() -> None:
    assert safe("<b>|x|* [y](z)\n#") == r"&lt;b&gt;\|x\|\* \[y\](z) \#"


def test_what_cannot_be_reported_is_refused_with_how_to_fix_it(tmp_path: Path) -> None:
    tables = {"similarity": world(tasks=2, layers=2, held_out=0)["similarity"]}
    with pytest.raises(DataError, match=r"no estimator 'cka-liner'\. Did you mean 'cka-linear'"):
        write_report(tables, tmp_path, study={}, provenance={}, estimator="cka-liner")
    with pytest.raises(DataError, match="The choices are: html, md"):
        write_report(tables, tmp_path, study={}, provenance={}, format="pdf")  # pyright: ignore
    with pytest.raises(DataError, match="Run the study first"):
        write_report({}, tmp_path, study={}, provenance={})
    assert list(tmp_path.iterdir()) == []
