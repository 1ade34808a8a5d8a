"""The report in a real browser: nothing in the console, nothing from the network, plots drawn, tables sorted."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from scratchcard.analysis.report import report
from tests.analysis.report_results import EVIL, write_results
from tests.browsing import emulate, fresh, narrow, wait, wide

pytestmark = pytest.mark.browser

LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 23, 27)"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_results(tmp_path_factory.mktemp("browser") / "results", (0.005, 0.1), (0, 1, 2))
    return report(folder, folder.parent / "report.html")


@pytest.fixture
def page(browser: Any, html: Path) -> Any:
    """The page, unfolded, all plots drawn, on a wide light screen; opened again where a test spoilt it."""
    if browser.execute_script("return window.unspoilt") is None:
        unfold(browser, html)
        browser.execute_script("window.unspoilt = true")
    wide(browser)
    emulate(browser, "light")
    browser.execute_script("window.scrollTo(0, 0)")
    return browser


@pytest.fixture
def page_to_spoil(page: Any) -> Any:
    page.execute_script("window.unspoilt = undefined")
    return page


def unfold(browser: Any, html: Path) -> None:
    fresh(browser, html.as_uri())
    browser.find_element("id", "everything").click()
    wait(browser, "return document.querySelectorAll('details:not(.listing):not([open])').length === 0")
    wait(
        browser,
        """const left = [...document.querySelectorAll('.chart')].filter((box) => !box.querySelector('svg'));
        left[0]?.scrollIntoView();
        return !left.length;""",
    )


def colours(browser: Any) -> set[str]:
    """The computed colours of the first plot: of the curves' points (open ones have no filling) and of the axes."""
    return set(
        browser.execute_script(
            """const chart = document.querySelector('.chart');
            return [...chart.querySelectorAll('g.mark-symbol path'), ...chart.querySelectorAll('g.mark-text text')]
              .map((mark) => getComputedStyle(mark).fill).filter((fill) => fill !== 'rgba(0, 0, 0, 0)');"""
        )
    )


def background(browser: Any) -> str:
    return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))


def test_it_begins_with_the_verdict_and_draws_what_is_seen(browser: Any, html: Path) -> None:
    fresh(browser, html.as_uri())
    wait(browser, "return document.documentElement.dataset.drawn")
    text = browser.find_element("tag name", "main").text
    assert text.startswith("Verdict\n")
    assert "has the best mean accuracy at" in text.partition("The best methods")[0]
    assert browser.execute_script("return performance.getEntriesByName('first-paint')[0].startTime") < 2000
    parts = browser.find_elements("css selector", "details.part")
    assert len(parts) > 5
    assert browser.execute_script("return document.querySelectorAll('.body > *').length") == 0
    assert browser.execute_script("return document.documentElement.scrollHeight / innerHeight") < 8
    parts[0].find_element("tag name", "summary").click()
    wait(browser, "return document.querySelector('details.part').querySelectorAll('table, .chart svg').length > 1")
    boxes = "return document.querySelectorAll('.chart').length"
    drawn = "return document.querySelectorAll('.chart svg').length"
    assert browser.execute_script(drawn) < browser.execute_script(boxes)
    assert browser.get_log("browser") == []


def test_an_address_opens_its_part(browser: Any, html: Path) -> None:
    fresh(browser, f"{html.as_uri()}#grid-saw")
    wait(browser, "return document.getElementById('grid-saw').querySelectorAll('table').length")
    assert browser.execute_script("return document.querySelectorAll('details.part[open]').length") == 1


def test_no_message_in_the_console_and_no_request(browser: Any, html: Path) -> None:
    unfold(browser, html)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert html.as_uri() in sent  # the log does record requests
    assert {url for url in sent if not url.startswith("data:")} == {html.as_uri()}
    assert browser.get_log("browser") == []
    browser.execute_script("window.unspoilt = true")


def test_the_policy_stops_what_gets_in_all_the_same(page_to_spoil: Any) -> None:
    page = page_to_spoil
    page.get_log("browser")
    assert page.execute_script("return window.hacked") is None
    page.execute_script(
        """const script = document.createElement('script'); script.textContent = 'window.hacked = 3';
        document.body.append(script);
        const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x.png';
        document.body.append(image);"""
    )
    assert page.execute_script("return window.hacked") is None
    wait(page, "return document.querySelector('img[src^=http]').complete")
    complaints = [entry["message"] for entry in page.get_log("browser")]
    assert sum("Content Security Policy" in text for text in complaints) == 2


def test_every_plot_is_drawn_with_marks(page: Any) -> None:
    marks = page.execute_script(
        """return [...document.querySelectorAll('.chart')].map((chart) => {
          const svg = chart.querySelector('svg');
          const marks = chart.querySelectorAll('g.mark-symbol path, g.mark-line path, g.mark-rect path');
          const seen = [...marks].filter((mark) => mark.getBoundingClientRect().width > 1);
          return [svg ? svg.getBoundingClientRect().width : 0, seen.length];
        });"""
    )
    assert len(marks) > 30
    assert min(width for width, _ in marks) > 150
    assert min(count for _, count in marks) > 0
    assert int(page.execute_script("return document.documentElement.dataset.drawn")) == len(marks)
    names = {button.get_attribute("data-entry") for button in page.find_elements("css selector", ".legend button")}
    assert {"grasp on snip every round, UMS 100", "snip, UMS 100, saw grasp"} <= names


def test_a_foreign_label_stays_text_in_a_tooltip(page: Any) -> None:
    from selenium.webdriver import ActionChains

    point = page.execute_script(
        """const table = [...document.querySelectorAll('tbody th')].find((th) => th.textContent.includes('hacked'));
        const section = table.closest('details.section');
        const point = section.querySelector('.chart g.mark-symbol path');
        point.scrollIntoView({block: 'center'});
        return point;"""
    )
    ActionChains(page).move_to_element(point).perform()
    text = wait(page, "return document.querySelector('#vg-tooltip-element.visible')?.textContent")
    assert EVIL in text
    assert page.execute_script("return window.hacked") is None
    assert not page.execute_script("return document.querySelectorAll('#vg-tooltip-element img').length")


def test_a_header_sorts_by_mouse_and_keyboard(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    table = page.execute_script(
        """const table = [...document.querySelectorAll('table')].find(
          (table) => table.tHead.textContent.includes('0.005') && table.tBodies[0].rows.length > 10);
        table.scrollIntoView({block: 'center'});
        return table;"""
    )
    read = """return [...arguments[0].tBodies[0].rows].map((row) => row.children[arguments[1]]).map((cell) =>
      cell.dataset.value ?? (cell.querySelector('b') ?? cell.firstChild).textContent.trim())"""

    def column(k: int) -> list[str]:
        return list(page.execute_script(read, table, k))

    headers = table.find_elements("css selector", "thead th")
    before = column(0)
    values = [float(v) for v in column(1)]
    assert values != sorted(values)
    headers[1].find_element("css selector", "button").click()
    assert [float(v) for v in column(1)] == sorted(values, reverse=True)
    assert headers[1].get_attribute("aria-sort") == "descending"
    headers[1].find_element("css selector", "button").send_keys(Keys.ENTER)
    assert [float(v) for v in column(1)] == sorted(values)
    assert headers[1].get_attribute("aria-sort") == "ascending"
    headers[0].find_element("css selector", "button").click()
    assert column(0) == sorted(before, key=str.lower)
    assert headers[1].get_attribute("aria-sort") is None
    assert sorted(column(0)) == sorted(before)


def test_missing_values_sort_last(page: Any) -> None:
    table = page.execute_script(
        "return [...document.querySelectorAll('table')].find((t) => t.tHead.textContent.includes('fitted in, s'))"
    )
    button = table.find_elements("css selector", "thead th button")[-1]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
    for _ in range(2):
        page.execute_script("arguments[0].click()", button)
        last = page.execute_script(
            "return [...arguments[0].tBodies[0].rows].map((row) => row.lastElementChild.textContent.trim())", table
        )
        assert last == ["3.2", "3.2", "–", "–"]


def test_a_legend_shows_one_method_and_the_switch_the_whole_range(page: Any) -> None:
    page.execute_script(
        """window.figure = document.querySelector('.range input').closest('figure');
        figure.scrollIntoView();
        window.faint = () => [...figure.querySelectorAll('.chart g.mark-symbol path')]
          .filter((mark) => Number(getComputedStyle(mark).opacity) < 0.2).length;
        const labels = '.chart g[aria-label^="Y-axis"] .role-axis-label text';
        window.lowest = () =>
          Math.min(...[...figure.querySelectorAll(labels)].map((label) => Number(label.textContent)));"""
    )
    assert page.execute_script("return faint()") == 0
    button = page.execute_script("return figure.querySelector('.legend button')")
    page.execute_script("arguments[0].click()", button)
    assert wait(page, "return faint()") > 0
    assert button.get_attribute("aria-pressed") == "true"
    page.execute_script("arguments[0].click()", button)
    wait(page, "return faint() === 0")
    before = page.execute_script("return lowest()")
    page.execute_script("figure.querySelector('.range input').click()")
    wait(page, f"return lowest() < {before}")
    page.execute_script("figure.querySelector('.range input').click()")
    wait(page, f"return lowest() === {before}")


def test_light_and_dark_follow_the_system_and_the_button(page: Any) -> None:
    assert background(page) == LIGHT
    light = colours(page)
    button = page.find_element("id", "theme")
    labelled = "return document.getElementById('theme').textContent === '{}'"
    emulate(page, "dark")
    assert background(page) == DARK
    dark = colours(page)
    assert not light & dark
    wait(page, labelled.format("Light theme"))  # the browser tells of the system's change with its next frame
    emulate(page, "light")
    wait(page, labelled.format("Dark theme"))
    button.click()
    assert button.text == "Light theme"
    assert background(page) == DARK
    assert colours(page) == dark
    button.click()
    assert background(page) == LIGHT
    assert colours(page) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(page: Any, scheme: str) -> None:
    emulate(page, scheme)
    pairs = page.execute_script(
        """const ground = (node) => {
          for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (!colour.startsWith('rgba(0, 0, 0, 0')) return colour;
          }
        };
        const html = [...document.querySelectorAll('p, h2, h3, h4, td, th, small, .note, a, button, summary')]
          .filter((node) => node.textContent.trim())
          .map((node) => [getComputedStyle(node).color, ground(node)]);
        const svg = [...document.querySelectorAll('.role-axis-label text, .role-axis-title text')]
          .map((node) => [getComputedStyle(node).fill, ground(node.closest('.chart'))]);
        return [...new Set([...html, ...svg].map((pair) => pair.join('|')))].map((pair) => pair.split('|'));"""
    )
    assert len(pairs) > 3
    for front, back in pairs:
        assert contrast(front, back) >= 4.5, (front, back)
    marks = page.execute_script(
        """const style = getComputedStyle(document.documentElement);
        const probe = document.createElement('i'); document.body.append(probe);
        const read = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
        return [[0, 1, 2, 3, 4, 5, 6, 7].map((k) => read(`--c${k}`)), read('--panel')];"""
    )
    for colour in marks[0]:
        assert contrast(colour, marks[1]) >= 3, colour


def contrast(front: str, back: str) -> float:
    """WCAG's contrast ratio of two `rgb(r, g, b)`."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(front), luminance(back)))
    return (high + 0.05) / (low + 0.05)


def test_a_phone_shows_it_without_scrolling_sideways(page: Any) -> None:
    narrow(page)
    wait(page, "return document.querySelector('.chart svg').getBoundingClientRect().width < 390")
    time.sleep(0.5)
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    beyond = page.execute_script(
        """return [...document.querySelectorAll('main *')].filter((node) =>
          node.getBoundingClientRect().right > 391 && !node.closest('.scroll') && !node.closest('pre')
        ).map((node) => node.outerHTML.slice(0, 80));"""
    )
    assert beyond == []
    assert page.execute_script("return document.querySelectorAll('.scroll table').length") > 5


def test_it_prints_with_its_plots(page_to_spoil: Any) -> None:
    page = page_to_spoil
    emulate(page, "dark", "print")
    assert background(page) == LIGHT  # paper is light, whatever the screen's theme
    assert page.execute_script("return getComputedStyle(document.querySelector('.buttons')).display") == "none"
    emulate(page, "light")
    whole = pdf(page)
    assert whole[:5] == b"%PDF-"
    assert whole.count(b"/Type /Page\n") + whole.count(b"/Type /Page ") > 3
    page.execute_script("document.querySelectorAll('.chart svg').forEach((svg) => svg.replaceChildren())")
    assert len(pdf(page)) < 0.7 * len(whole)  # what is gone was in the file


def pdf(page: Any) -> bytes:
    return base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
