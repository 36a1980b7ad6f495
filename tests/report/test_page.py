"""The page in a real browser: nothing breaks, nothing leaves it, and every control changes what is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mossa.report.page.data import page_data
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from mossa.analysis import Findings, analyse
from mossa.report.gallery import gallery
from mossa.report.page.render import render
from tests.report.browser import choose, complaints, drawn, requests, show, start
from tests.report.odd import ODD, SCRIPT, Tables, studied
from tests.report.synthetic import rename, world

pytestmark = pytest.mark.browser


def write_page(tables: Tables, findings: Findings, path: Path) -> Path:
    """Write the page alone, without the static figures."""
    estimator = str(findings.estimator)
    pictures, missing = gallery(findings, estimator)
    prompts = {"task01": ["<b>bold?</b> \u2028 </script> first prompt"]}
    study = {"name": "<i>a study</i>"}
    text = render(findings, page_data(findings, estimator), pictures, missing, tables, study, {"seed": 0}, prompts)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium = start(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tables = rename(world(tasks=24, layers=12, held_out=4), "task03", SCRIPT)
    return write_page(tables, analyse(tables), tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture
def opened(browser: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    show(browser, page)
    return browser


def note(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.ID, f"{name}-note").text


def test_nothing_breaks_and_no_request_leaves_the_page(opened: webdriver.Chrome, page: Path) -> None:
    for drawer in opened.find_elements(By.CSS_SELECTOR, ".task > summary")[:3]:
        opened.execute_script("arguments[0].click()", drawer)
    assert complaints(opened) == []
    assert requests(opened) == [page.as_uri()]


def test_a_request_that_tried_to_leave_would_be_seen(opened: webdriver.Chrome) -> None:
    opened.execute_async_script(
        "const done = arguments[0]; const i = new Image(); i.onerror = () => done(); i.src = 'http://127.0.0.1:9/x.png';"
    )
    assert any("Content Security Policy" in message for message in complaints(opened))


def test_every_plot_is_drawn(opened: webdriver.Chrome) -> None:
    plots = opened.find_elements(By.CSS_SELECTOR, "section > .plot, section > .wide > .plot")
    assert {plot.get_attribute("id") for plot in plots} == {
        "map-plot", "boxes-plot", "heat-plot", "space-plot", "separability-plot", "dimensions-plot",
        "correlates-plot", "encoded-plot", "controls-plot", "affinity-plot", "layers-plot",
    }  # fmt: skip
    assert all(plot.find_elements(By.CSS_SELECTOR, ".main-svg .trace, .main-svg .hm") for plot in plots)


def test_a_name_that_is_a_script_shows_as_text(opened: webdriver.Chrome) -> None:
    assert opened.execute_script("return typeof alerted") == "undefined"
    names = [element.text for element in opened.find_elements(By.CSS_SELECTOR, ".task .name")]
    assert SCRIPT in names
    ticks = opened.execute_script(
        "return [...document.querySelectorAll('#heat-plot .ytick text')].map(t => t.textContent)"
    )
    assert any(tick.startswith(SCRIPT) for tick in ticks)
    assert opened.find_element(By.TAG_NAME, "h1").text == "<i>a study</i>"
    texts = [pre.get_attribute("textContent") or "" for pre in opened.find_elements(By.CSS_SELECTOR, ".prompt pre")]
    assert any("<b>bold?</b> \u2028 </script> first prompt" in text for text in texts)


def test_hovering_over_a_point_names_task_cluster_value_interval_and_n(opened: webdriver.Chrome) -> None:
    plot = opened.find_element(By.ID, "boxes-plot")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    point = plot.find_elements(By.CSS_SELECTOR, ".trace.boxes path.point")[0]
    ActionChains(opened).move_to_element(point).perform()
    shown = opened.execute_script(
        "return new Promise(done => { const look = () => {"
        " const t = document.querySelector('#boxes-plot .hoverlayer .hovertext');"
        " t ? done(t.textContent) : setTimeout(look, 50); }; look(); })"
    )
    assert re.search(r"(task\d\d|alert).*at layer 1.*95 % interval .* to .*n = \d+ prompts", shown)


def test_the_sliders_move_the_sections_and_their_means(opened: webdriver.Chrome) -> None:
    def state() -> tuple[object, str]:
        shapes = drawn(opened, "map-plot", "p.layout.shapes.map(s => [s.x0, s.x1])")
        return shapes, opened.find_element(By.ID, "map-table").text

    found = state()
    choose(opened, "shared-end", 2)
    choose(opened, "transition-end", 9)
    moved = state()
    assert moved[0] == [[0.5, 2.5], [2.5, 9.5], [9.5, 12.5]]
    assert moved[1] != found[1] and "shared (1–2)" in moved[1]
    assert "by hand" in note(opened, "map") or "No sections" in note(opened, "map")
    choose(opened, "shared-end", 11)
    assert opened.find_element(By.ID, "transition-value").text == "11"
    opened.find_element(By.ID, "map-reset").send_keys(Keys.ENTER)
    assert state() == found


def test_the_sliders_move_with_the_keyboard(opened: webdriver.Chrome) -> None:
    slider = opened.find_element(By.ID, "shared-end")
    before = int(opened.find_element(By.ID, "shared-value").text)
    slider.send_keys(Keys.ARROW_LEFT)
    assert int(opened.find_element(By.ID, "shared-value").text) == before - 1


def test_the_boxes_follow_cluster_and_held_out(opened: webdriver.Chrome) -> None:
    points = "p.data.map(t => t.y.flat().length)"
    everything = drawn(opened, "boxes-plot", points)
    assert everything == [24 * 12, 24 * 12, 20 * 12]
    choose(opened, "boxes-cluster", "translation")
    assert drawn(opened, "boxes-plot", points)[:2] == [2 * 12, 2 * 12]
    choose(opened, "boxes-cluster", "")
    choose(opened, "boxes-tasks", "held sft-unseen")
    assert drawn(opened, "boxes-plot", points) == [4 * 12, 4 * 12]
    assert "sft-unseen: n = 4 tasks" in note(opened, "boxes")


def test_the_heat_map_is_sorted_and_filtered(opened: webdriver.Chrome) -> None:
    rows = "p.data[0].z.map(row => row.reduce((a, b) => a + b))"
    by_cluster = drawn(opened, "heat-plot", rows)
    choose(opened, "heat-sort", "value")
    by_value = drawn(opened, "heat-plot", rows)
    assert by_value == sorted(by_value, reverse=True) and by_value != by_cluster
    assert sorted(by_cluster) == sorted(by_value)
    choose(opened, "heat-filter", "task1")
    assert len(drawn(opened, "heat-plot", rows)) == 10
    assert note(opened, "heat").startswith("10 of 24 tasks")
    choose(opened, "heat-filter", "no such task")
    assert drawn(opened, "heat-plot", "p.data.length") == 0
    choose(opened, "heat-filter", "")
    choose(opened, "heat-model", "change sft")
    assert drawn(opened, "heat-plot", "p.data[0].zmin") == -0.5


def test_a_task_opens_with_its_curves_losses_and_ceiling(opened: webdriver.Chrome) -> None:
    choose(opened, "task-filter", "task07")
    shown = [task for task in opened.find_elements(By.CSS_SELECTOR, ".task") if task.is_displayed()]
    assert [task.find_element(By.CLASS_NAME, "name").text for task in shown] == ["task07"]
    shown[0].find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    opened.execute_script("return new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
    legend = [text.text for text in shown[0].find_elements(By.CSS_SELECTOR, ".legendtext")]
    assert [name.split(",")[0] for name in legend] == ["pretrained", "sft", "sft-unseen", "noise ceiling"]
    assert "control-task07-seed0" in shown[0].text


def test_projection_and_correlates_follow_their_controls(opened: webdriver.Chrome) -> None:
    before = drawn(opened, "space-plot", "p.data[0].x[0]")
    choose(opened, "space-layer", 2)
    assert opened.find_element(By.ID, "space-value").text == "12"
    assert drawn(opened, "space-plot", "p.data[0].x[0]") != before
    pearson = drawn(opened, "correlates-plot", "p.data[0].z[0]")
    choose(opened, "correlates-method", "spearman")
    assert drawn(opened, "correlates-plot", "p.data[0].z[0]") != pearson
    choose(opened, "controls-show", "dose")
    assert drawn(opened, "controls-plot", "p.layout.xaxis.type") == "log"


@pytest.mark.parametrize("width", [390, 768])
def test_the_page_never_scrolls_sideways(browser: webdriver.Chrome, page: Path, width: int) -> None:
    show(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_dark_mode_reaches_page_and_plots(browser: webdriver.Chrome, page: Path) -> None:
    def brightness() -> list[int]:
        look = (
            "const c = e => Math.max(...getComputedStyle(e).color.match(/\\d+/g).slice(0, 3));"
            "const tick = document.querySelector('#map-plot .xtick text');"
            "const ground = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3);"
            "return [Math.max(...ground), c(document.body), +tick.style.fill.match(/\\d+/)[0]]"
        )
        return browser.execute_script(look)

    show(browser, page, scheme="dark")
    ground, ink, tick = brightness()
    assert ground < 60 and ink > 200 and tick > 200
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    browser.execute_script("return new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    ground, ink, tick = brightness()
    assert ground == 255 and ink < 60 and tick < 60


def test_printing_from_dark_mode_is_dark_on_white_and_as_wide_as_a_sheet(browser: webdriver.Chrome, page: Path) -> None:
    def look(event: str) -> tuple[str, str, float]:
        script = (
            "dispatchEvent(new Event(arguments[0]));"
            "return [getComputedStyle(document.body).backgroundColor,"
            " document.querySelector('#map-plot .xtick text').style.fill,"
            " document.querySelector('#map-plot .main-svg').getBoundingClientRect().width]"
        )
        return tuple(browser.execute_script(script, event))

    show(browser, page, scheme="dark")
    before = look("nothing")
    assert look("beforeprint") == ("rgb(255, 255, 255)", "rgb(27, 31, 36)", 688)
    look("afterprint")
    WebDriverWait(browser, 10).until(lambda _: look("nothing") == before, "the page is not as it was before printing")
    assert before[1] == "rgb(231, 234, 238)" and before[2] > 1000


@pytest.mark.parametrize("name", ODD)
def test_a_study_with_something_missing_gives_a_page_that_works(
    browser: webdriver.Chrome, tmp_path: Path, name: str
) -> None:
    page = write_page(*studied(name), tmp_path / "index.html")
    show(browser, page)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for select in browser.find_elements(By.CSS_SELECTOR, ".tools select"):
        options = select.find_elements(By.TAG_NAME, "option")
        assert select.is_displayed() == (len(options) > 1), "a choice of one is no choice"
        choose(browser, str(select.get_attribute("id")), options[-1].get_attribute("value"))
    assert complaints(browser) == []
    assert "NaN" not in browser.find_element(By.TAG_NAME, "main").text
    assert browser.find_elements(By.CSS_SELECTOR, ".missing li")
