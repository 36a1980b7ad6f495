"""The page in a real browser: nothing breaks, nothing leaves it, and every control changes what is shown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from mossa.analysis import Findings, analyse
from mossa.report.figure_list import available_figures
from mossa.report.page.masthead import WORDS, short_count, short_model
from mossa.report.page.render import PageSource, render
from tests.report.browser import complaints, requests, show, start
from tests.report.incomplete import INCOMPLETE, SCRIPT, Tables, studied
from tests.report.synthetic import rename, world

pytestmark = pytest.mark.browser


def write_page(tables: Tables, findings: Findings, path: Path) -> Path:
    """Write the page alone, without the static figures."""
    estimator = str(findings.estimator)
    taught = frozenset(["task05"])
    pictures, missing = available_figures(findings, estimator, taught)
    prompts = {"task01": [("<b>bold?</b> \u2028 </script> first prompt", "a <i>target</i>")]}
    study = {"name": "<i>a study</i>", "base": {"model": "/home/somebody/models/llama"}}
    source = PageSource(findings, estimator, tables, study, {"seed": 0}, prompts, taught)
    path.write_text(render(source, pictures, missing), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium = start(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module")
def tables() -> Tables:
    return rename(world(tasks=24, layers=12, held_out=4), "task03", SCRIPT)


@pytest.fixture(scope="module")
def findings(tables: Tables) -> Findings:
    return analyse(tables)


@pytest.fixture(scope="module")
def page(tables: Tables, findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tables, findings, tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture
def opened(browser: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    show(browser, page)
    return browser


@pytest.fixture
def unfolded(browser: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    """The page with everything opened, loaded again only if another page was shown in between."""
    if not browser.execute_script("return window.unfolded === true"):
        show(browser, page)
        unfold(browser)
        browser.execute_script("window.unfolded = true")
    return browser


def unfold(browser: webdriver.Chrome) -> None:
    """Open every fold and the first row of the table, and let the plots be drawn."""
    browser.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true);"
        "document.querySelector('tr.row button').click();"
    )
    browser.execute_script("return new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")


def see(browser: webdriver.Chrome, chart: str, view: int, expression: str) -> Any:
    """Choose a view of a chart and return `expression` of its plots `p` (a list)."""
    return browser.execute_script(
        "const f = document.getElementById('chart-' + arguments[0]); const s = f.querySelector('.view');"
        "if (s) { s.value = arguments[1]; s.dispatchEvent(new Event('input', {bubbles: true})); }"
        f"const p = [...f.querySelectorAll('.plot')]; return {expression};",
        chart,
        view,
    )


def test_nothing_breaks_and_no_request_leaves_the_page(unfolded: webdriver.Chrome, page: Path) -> None:
    assert complaints(unfolded) == []
    assert requests(unfolded) == [page.as_uri()]


def test_every_chart_is_drawn_and_told_in_words(unfolded: webdriver.Chrome) -> None:
    plots = unfolded.find_elements(
        By.CSS_SELECTOR, "tr.row:first-child + tr .plot, section > .chart .plot, details .plot"
    )
    assert len(plots) > 15
    for plot in plots:
        assert plot.find_elements(
            By.CSS_SELECTOR, ".main-svg .trace, .main-svg .hm, .main-svg .scatterlayer .points"
        ), plot.get_attribute("aria-label")
        assert len(str(plot.get_attribute("aria-label"))) > 30
    smallest = unfolded.execute_script(
        "return Math.min(...[...document.querySelectorAll('.plot text')].filter(t => t.textContent)"
        ".map(t => parseFloat(getComputedStyle(t).fontSize)))"
    )
    assert smallest >= 11


def test_a_name_that_is_a_script_shows_as_text(unfolded: webdriver.Chrome) -> None:
    assert unfolded.execute_script("return typeof alerted") == "undefined"
    names = [element.text for element in unfolded.find_elements(By.CSS_SELECTOR, "tr.row > th button")]
    assert SCRIPT in names
    ticks = see(
        unfolded, "heatmap", 0, "p.flatMap(e => [...e.querySelectorAll('.ytick text')].map(t => t.textContent))"
    )
    assert SCRIPT in ticks
    assert unfolded.find_element(By.TAG_NAME, "h1").text == "<i>a study</i>"
    texts = [pre.get_attribute("textContent") or "" for pre in unfolded.find_elements(By.CSS_SELECTOR, ".prompt pre")]
    assert texts == ["<b>bold?</b> \u2028 </script> first prompt"]
    answers = unfolded.execute_script(
        "return [...document.querySelectorAll('.prompt tr')].map(r => [...r.children].map(c => c.textContent.trim()))"
    )
    assert answers == [
        ["target", "", "a <i>target</i>"],
        ["pretrained", "✗ wrong", "<i>pretrained</i> says"],
        ["sft", "✓ right", "<i>sft</i> says"],
        ["sft-unseen", "✓ right", "<i>sft-unseen</i> says"],
        ["specialist", "✓ right", "<i>control-task01-seed0</i> says"],
    ]
    assert "somebody" not in str(unfolded.find_element(By.TAG_NAME, "html").get_attribute("textContent"))


def test_hovering_over_a_point_names_task_cluster_value_interval_and_n(unfolded: webdriver.Chrome) -> None:
    plot = unfolded.find_element(By.CSS_SELECTOR, "#chart-layers .plot")
    unfolded.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    point = plot.find_elements(By.CSS_SELECTOR, ".trace.boxes path.point")[0]
    ActionChains(unfolded).move_to_element(point).perform()
    shown = unfolded.execute_script(
        "return new Promise(done => { const look = () => {"
        " const t = document.querySelector('#chart-layers .hoverlayer .hovertext');"
        " t ? done(t.textContent) : setTimeout(look, 50); }; look(); })"
    )
    assert re.search(r"(task\d\d|alert).*at layer 1.*95 % interval .* to .*n = \d+ prompts", shown)


def test_boxes_stand_on_the_same_tasks_and_follow_the_choice(unfolded: webdriver.Chrome) -> None:
    points = "p[0].data.filter(t => t.type === 'box').map(t => t.y.flat().length)"
    assert see(unfolded, "layers", 0, points) == [20 * 12] * 3
    assert see(unfolded, "layers", 1, points) == [4 * 12] * 3
    assert see(unfolded, "layers", 2, points) == [24 * 12, 24 * 12, 20 * 12]
    assert see(unfolded, "layers", 3, points) == [2 * 12] * 3


def test_the_scale_of_the_heat_map_is_the_same_for_every_model(unfolded: webdriver.Chrome) -> None:
    scales = [see(unfolded, "heatmap", view, "[p[0].data[0].zmin, p[0].data[0].zmax]") for view in range(6)]
    assert scales == [[0, 1]] * 4 + [[-0.5, 0.5]] * 2


def test_a_request_that_tried_to_leave_would_be_seen(opened: webdriver.Chrome) -> None:
    opened.execute_async_script(
        "const done = arguments[0]; const i = new Image(); i.onerror = () => done(); i.src = 'http://127.0.0.1:9/x.png';"
    )
    assert any("Content Security Policy" in message for message in complaints(opened))


def test_answers_come_first_and_the_paired_difference_is_the_first_figure(
    browser: webdriver.Chrome, page: Path
) -> None:
    show(browser, page, width=1300)
    order = browser.execute_script("return [...document.querySelectorAll('main > section')].map(s => s.id)")
    assert order == ["headline", "believe", "performance", "layers", "place", "encoded", "tasks", "more", "made"]
    ends = browser.execute_script(
        "return [...document.querySelectorAll('#headline-title, .points li, #chart-change .plot')]"
        ".map(e => e.getBoundingClientRect().bottom)"
    )
    assert max(ends) <= 900
    checks = browser.find_elements(By.CSS_SELECTOR, ".checks dt")
    assert len(checks) == 4
    for link in browser.find_elements(By.CSS_SELECTOR, ".points a"):
        assert browser.find_elements(By.ID, str(link.get_attribute("href")).split("#")[1])


def test_the_table_is_sorted_searched_and_opened_with_the_keyboard(opened: webdriver.Chrome) -> None:
    def column(place: int) -> list[str]:
        rows = opened.find_elements(By.CSS_SELECTOR, "tr.row")
        return [row.find_elements(By.CSS_SELECTOR, "th, td")[place].text for row in rows if row.is_displayed()]

    opened.find_element(By.CSS_SELECTOR, "[data-column='2']").send_keys(Keys.ENTER)
    values = [float(text) for text in column(2)]
    assert values == sorted(values, reverse=True) and len(values) == 24
    head = opened.find_element(By.CSS_SELECTOR, "th:has([data-column='2'])")
    assert head.get_attribute("aria-sort") == "descending"
    opened.find_element(By.ID, "task-search").send_keys("task1")
    assert len(column(0)) == 10 and opened.find_element(By.ID, "task-note").text.startswith("10 of 24 tasks")
    row = opened.find_element(By.ID, "task-task17")
    row.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    opened.execute_script("return new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    detail = opened.execute_script("return arguments[0].nextElementSibling", row)
    assert detail.is_displayed() and "control-task17-seed0" in detail.text
    assert [item.text.split("\n")[-1] for item in detail.find_elements(By.CSS_SELECTOR, ".legend li")] == [
        "pretrained", "sft", "sft-unseen", "two specialists",
    ]  # fmt: skip


def test_the_address_keeps_place_choices_search_and_order(browser: webdriver.Chrome, page: Path) -> None:
    show(browser, page)
    see(browser, "layers", 2, "0")
    browser.find_element(By.ID, "task-search").send_keys("sentiment")
    browser.find_element(By.CSS_SELECTOR, "[data-column='3']").send_keys(Keys.ENTER)
    browser.find_element(By.CSS_SELECTOR, "tr.row:not([hidden]) button").send_keys(Keys.ENTER)
    address = browser.current_url
    assert re.search(r"#task-task\d\d\?layers=2&q=sentiment&sort=3d$", address)
    browser.get("about:blank")
    browser.get(address)
    state = browser.execute_script(
        "return [document.querySelector('#chart-layers .view').value, document.getElementById('task-search').value,"
        "document.querySelector('th:has([data-column=\"3\"])').ariaSort,"
        "document.querySelectorAll('tr.row:not([hidden])').length,"
        "document.querySelectorAll('tr.opened:not([hidden])').length]"
    )
    assert state == ["2", "sentiment", "descending", 2, 1]


def test_saved_numbers_are_those_of_the_analysis(opened: webdriver.Chrome, findings: Findings) -> None:
    opened.execute_script("window.saved = []; save = (name, content) => saved.push([name, content]);")
    for kind in ("csv", "svg"):
        opened.find_element(By.CSS_SELECTOR, f"#chart-change [data-as='{kind}']").click()
    WebDriverWait(opened, 20).until(lambda b: b.execute_script("return saved.length") == 3)
    (name, text), *pictures = opened.execute_script("return saved")
    assert name == "change.csv" and [each[0] for each in pictures] == ["change-1.svg", "change-2.svg"]
    assert all(each[1].startswith("data:image/svg+xml") for each in pictures)
    rows = list(csv.DictReader(io.StringIO(text)))
    table = findings.common_change[findings.common_change["estimator"].eq(findings.estimator)]
    assert len(rows) == len(table)
    assert {bool(row["high"]) for row in rows} == {True, False}  # 20 tasks have an interval, 4 have none
    got = sorted(
        (row["series"], int(row["x"]), int(row["tasks"]), float(row["y"]), float(row["high"] or -9)) for row in rows
    )
    high = table["high"].astype(float).round(4).fillna(-9)
    wanted = sorted(
        (r.experimental, r.layer, r.tasks, round(r.median, 4), upper)
        for r, upper in zip(table.itertuples(), high, strict=True)
    )
    assert got == wanted
    button = opened.find_element(By.CSS_SELECTOR, "#chart-change [data-as='table']")
    button.click()
    assert len(opened.find_elements(By.CSS_SELECTOR, "#chart-change .numbers tbody tr")) == len(table)


def test_words_are_explained_where_they_stand(opened: webdriver.Chrome) -> None:
    words = opened.find_elements(By.CSS_SELECTOR, "button[popovertarget]")
    keys = {str(word.get_attribute("popovertarget")) for word in words}
    assert keys == {"cite", "reading", *(f"word-{key}" for key in WORDS)}
    for word in words:
        target = opened.find_element(By.ID, str(word.get_attribute("popovertarget")))
        assert not target.is_displayed()
        word.send_keys(Keys.ENTER)
        assert target.is_displayed() and len(target.text) > 40
        ActionChains(opened).send_keys(Keys.ESCAPE).perform()


@pytest.mark.parametrize(
    ("width", "scheme", "rules"),
    [
        (1280, "light", {}),
        (1280, "dark", {"runOnly": ["color-contrast"]}),  # all that the scheme changes
        (390, "light", {"rules": {"color-contrast": {"enabled": 0}}}),  # and the one that the width does not
    ],
)
def test_axe_finds_no_fault(
    browser: webdriver.Chrome, page: Path, width: int, scheme: str, rules: dict[str, Any]
) -> None:
    show(browser, page, width=width, scheme=scheme)
    unfold(browser)
    found = Axe().run(browser, options=rules)
    assert [(each["id"], each["nodes"][0]["html"][:120]) for each in found["violations"]] == []
    assert len(found["passes"]) > (0 if "runOnly" in rules else 20)


@pytest.mark.parametrize("width", [390, 768])
def test_the_page_never_scrolls_sideways(browser: webdriver.Chrome, page: Path, width: int) -> None:
    show(browser, page, width=width)
    unfold(browser)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    inside = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].every(p => p.scrollWidth <= p.clientWidth + 1)"
    )
    assert inside, "a plot is wider than its frame"


def test_dark_mode_reaches_page_and_plots(browser: webdriver.Chrome, page: Path) -> None:
    def brightness() -> list[int]:
        look = (
            "const c = e => Math.max(...getComputedStyle(e).color.match(/\\d+/g).slice(0, 3));"
            "const tick = document.querySelector('#chart-change .xtick text');"
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
            " document.querySelector('#chart-change .xtick text').style.fill,"
            " document.querySelector('#chart-layers .main-svg').getBoundingClientRect().width]"
        )
        return tuple(browser.execute_script(script, event))

    show(browser, page, scheme="dark")
    before = look("nothing")
    assert look("beforeprint") == ("rgb(255, 255, 255)", "rgb(27, 31, 36)", 688)
    look("afterprint")
    WebDriverWait(browser, 10).until(lambda _: look("nothing") == before, "the page is not as it was before printing")
    assert before[1] == "rgb(231, 234, 238)" and before[2] > 1000


@pytest.mark.parametrize("name", [name for name in INCOMPLETE if name != "names that are HTML"])  # as the page above
def test_a_study_with_something_missing_gives_a_page_that_works(
    browser: webdriver.Chrome, tmp_path: Path, name: str
) -> None:
    page = write_page(*studied(name), tmp_path / "index.html")
    show(browser, page)
    unfold(browser)
    for select in browser.find_elements(By.CSS_SELECTOR, ".view"):
        options = select.find_elements(By.TAG_NAME, "option")
        assert len(options) > 1, "a choice of one is no choice"
        figure = browser.execute_script("return arguments[0].closest('.chart').dataset.chart", select)
        see(browser, figure, len(options) - 1, "0")
    assert complaints(browser) == []
    assert "NaN" not in browser.find_element(By.TAG_NAME, "main").text
    assert browser.find_elements(By.CSS_SELECTOR, ".missing li")


def test_a_base_is_called_what_the_study_calls_it() -> None:
    assert short_model("org/model") == "org/model"
    assert short_model("/site-packages/mossa/tinyflan/bases/a") == "tinyflan:a"
    assert short_model("/home/me/models/mine/") == "models/mine"


def test_a_size_is_said_as_people_say_it() -> None:
    said = [short_count(number) for number in (512, 260_032, 134_515_008, 1_235_814_400, 8_030_261_248, 70e9)]
    assert said == ["512", "260 k", "135 M", "1.24 B", "8.03 B", "70 B"]
