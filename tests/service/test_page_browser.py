"""The page in a real browser: a network is dragged in, pruned and downloaded; by keyboard, for everybody, safely."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from safetensors.torch import save

import scratchcard as sc
from scratchcard.apply.method import Method
from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.cli.prune import prune as prune_command
from scratchcard.frontends.service.asked import JobRequest, method_words
from tests.browsing import emulate, fresh, narrow, wait, wide
from tests.service.conftest import CAROL
from tests.service.running import ended

pytestmark = pytest.mark.browser

EVIL = '<img src=x onerror="window.hacked=1"><b>bold</b>'
TRAINED = {
    "task": "digits",
    "scorer": "magnitude",
    "regime": "ISS",
    "regime_settings": {"rounds": 3},
    "recipe_settings": {"max_steps": 20, "evaluation_interval": 10},
    "density": [0.1, 0.02],
}


@pytest.fixture
def carol(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {CAROL}"}, timeout=60) as client:
        yield client


@pytest.fixture
def page(browser: Any, address: str, carol: httpx2.Client) -> Iterator[Any]:
    """The page with Carol's token, on a wide light screen; she has no jobs."""
    fresh(browser, f"{address}/")
    for job in carol.get("/jobs").json():
        carol.delete(f"/jobs/{job['id']}")
        carol.delete(f"/jobs/{job['id']}")
    wait(browser, "return document.getElementById('page-error').textContent.includes('token is needed')")
    log_in(browser)
    yield browser
    browser.get("about:blank")


def log_in(page: Any) -> None:
    page.find_element("id", "token").send_keys(f"{CAROL}\n")
    wait(page, "return document.querySelectorAll('#task option').length && document.querySelector('#jobs > *')")


def drop(page: Any, name: str, content: bytes) -> None:
    """What a hand does that drags a file in."""
    page.execute_script(
        """const [name, text] = arguments;
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], name));
        const place = document.getElementById('drop');
        for (const kind of ['dragover', 'drop']) {
          place.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        name,
        base64.b64encode(content).decode(),
    )


def asked_by_hand(page: Any, scorer: str, densities: str) -> None:
    page.execute_script("document.querySelector('[value=scorer]').click()")
    page.execute_script("arguments[0].value = arguments[1]", page.find_element("id", "scorer"), scorer)
    page.execute_script("arguments[0].value = arguments[1]", page.find_element("id", "densities"), densities)
    page.find_element("id", "prune").click()


def shown(page: Any, job: str | None = None) -> str:
    """Wait for a job's ticket with all its pictures; the job's id."""
    if job is not None:
        page.execute_script("location.hash = arguments[0]", job)
    wait(page, "return document.querySelectorAll('.ticket .strip figcaption').length > 3")
    return str(page.execute_script("return location.hash.slice(1)"))


@contextmanager
def downloads(page: Any, folder: Path) -> Iterator[None]:
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    yield
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(folder.glob("*.safetensors")):
        time.sleep(0.05)


def same(one: sc.Ticket, other: sc.Ticket) -> bool:
    pairs = zip(one.mask.tensors.items(), other.mask.tensors.items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def initial(seed: int = 11) -> sc.Ticket:
    return sc.Workload("lenet_300_100", sc.load_task("digits")).build(seed)  # type: ignore[return-value]


def test_a_network_is_dragged_in_pruned_and_downloaded(page: Any, tmp_path: Path) -> None:
    network: Any = initial()
    content = save(network.state_dict())
    drop(page, "mine.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    wait(page, f"return document.getElementById('file-about').textContent.includes('{digest[:12]}')")
    asked_by_hand(page, "snip", "0.1")
    shown(page)
    with downloads(page, tmp_path):
        page.find_element("xpath", "//button[text()='Download ticket']").click()
    ticket = sc.Ticket.load(tmp_path / "ticket-0.1.safetensors")
    local = sc.prune(network, sc.load_task("digits"), 0.1, method="snip")
    assert same(ticket, local)
    assert all(torch.equal(ticket.initial[name], value) for name, value in network.state_dict().items())
    facts = page.find_element("class name", "facts").text
    effective = local.provenance["checks"]["effective_density"]
    assert f"5,020 of 50,200 weights\nDensity\n0.1\nEffective density\n{effective:.3g}" in facts
    rows = [row.text.split() for row in page.find_elements("css selector", ".ticket .part table tbody tr")][:3]
    kept = [int(mask.sum()) for mask in local.mask.tensors.values()]
    assert [int(row[4].replace(",", "")) if "×" in row[2] else int(row[4]) for row in rows] == kept
    used = int((local.mask.tensors["1.weight"].sum(0) > 0).sum())
    assert f"{used} of 64 pixels still count" in page.find_element("class name", "pictures").text
    stored = "return [localStorage.length, sessionStorage.length, document.cookie, location.href]"
    assert page.execute_script(stored)[:3] == [0, 0, ""]
    assert CAROL not in page.page_source
    assert [entry for entry in page.get_log("browser") if "401" not in entry["message"]] == []


def module(browser: Any, address: str, name: str, words: str, *given: Any) -> Any:
    """What an expression says of a module of the page, `found`, and what is given."""
    if not browser.current_url.startswith(address):
        fresh(browser, f"{address}/")
    script = f"const [given, done] = arguments; import('/page/{name}').then((found) => done({words}));"
    return browser.execute_async_script(script, given)


def test_the_digest_is_sha256(browser: Any, address: str) -> None:
    words = """(([text, cut]) => {
      const bytes = Uint8Array.from(text), digest = new found.Sha256();
      return digest.update(bytes.subarray(0, cut)).update(bytes.subarray(cut)).hex();
    })(given)"""
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000):
        content = (bytes(range(256)) * 4)[:size]
        for cut in (0, size // 3):
            found = module(browser, address, "sha256.js", words, list(content), cut)
            assert found == hashlib.sha256(content).hexdigest(), (size, cut)


REQUESTS: list[dict[str, Any]] = [
    {"task": "digits", "density": 0.05, "passes": 4},
    {"task": "mnist", "density": [0.1, 0.02], "seed": 7, "scorer": "snip"},
    {"task": "digits", "scorer": "grasp", "scorer_settings": {"temperature": 1.5}, "network": "torchvision:resnet18"},
    {"task": "digits", "predictor": "policy", "scorer": "synflow", "on": "predicted", "restack": True, "regime": "UMS"},
    {"task": "digits", "predictor": "line"},
    {"task": "mine", "scorer": "snip", "weights": "0" * 64},
    TRAINED | {"recipe": "lenet", "recipe_settings": {"nesterov": False, "scoring_balanced": True, "momentum": 0.5}},
    {"task": "digits", "initial": "saw", "initial_scorer": "snip", "scorer": "magnitude"},
    {"task": "digits", "scorer": "snip", "kept_weights": "constant", "kept_signs": True, "restack": False},
]


def test_the_command_line_that_is_shown_asks_for_the_same(browser: Any, address: str, carol: httpx2.Client) -> None:
    known = carol.get("/choices").json()
    for request in REQUESTS:
        line = module(
            browser, address, "commands.js", "found.commandLine(given[0], 'http://here:1', given[1])", request, known
        )
        words = shlex.split(line)
        assert words[:2] == ["scratchcard", "prune"]
        options = prune_command.make_context("prune", words[2:]).params
        asked = JobRequest(**request)
        assert opt.given_settings(Method, options) == method_words(asked, asked.predictor), line
        assert (options["density"], options["seed"], options["passes"]) == (asked.densities, asked.seed, asked.passes)
        assert (options["network"], options["recipe"]) == (asked.network, asked.recipe)
        assert options["task"] == ("tensors:mine.safetensors" if asked.task == "mine" else asked.task)
        assert options["weights"] == (Path("weights.safetensors") if asked.weights else None)
        assert options["server"] == ("http://here:1" if asked.predictor == "line" else None)
        assert {name: options[name] for name in asked.recipe_settings} == asked.recipe_settings


@pytest.mark.slow
def test_the_lines_that_are_shown_find_the_same_ticket(
    page: Any, carol: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = initial(5)
    (tmp_path / "weights.safetensors").write_bytes(save(network.state_dict()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCHCARD_TOKEN", CAROL)
    page.find_element("id", "file").send_keys(str(tmp_path / "weights.safetensors"))
    wait(page, "return document.getElementById('file-about').textContent.includes('sha256')")
    asked_by_hand(page, "grasp", "0.1")
    job = shown(page)
    ticket = sc.Ticket.load(carol.get(f"/jobs/{job}/ticket").content)
    line, python = (each.text for each in page.find_elements("css selector", ".code pre"))
    words = ["-c", "from scratchcard.frontends.cli import main; main()", *shlex.split(line)[1:]]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert same(sc.Ticket.load("ticket.safetensors"), ticket)
    found: dict[str, Any] = {}
    exec(python, found)  # noqa: S102  (what the page tells people to run)
    assert same(found["ticket"], ticket)


@pytest.mark.slow
def test_axe_finds_nothing(page: Any, carol: httpx2.Client) -> None:
    checked(page, "empty")
    page.find_element("css selector", "[value=scorer]").click()
    page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    checked(page, "unfolded")
    job = carol.post("/jobs", json=TRAINED).json()["id"]
    failed = carol.post("/jobs", json={"network": "vgg_19", "input_shape": [3, 1, 1], "outputs": 10, "passes": 0})
    assert ended(carol, failed.json()["id"])["state"] == "failed"
    ended(carol, job)
    page.refresh()
    wait(page, "return document.getElementById('page-error').textContent")
    log_in(page)
    shown(page, job)
    wait(page, "return document.querySelector('.curve')")
    page.find_element("xpath", "//button[text()='Compare']").click()
    wait(page, "return document.getElementById('job').textContent.includes('Jaccard index')")
    page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    checked(page, "finished")
    page.execute_script("location.hash = arguments[0]", failed.json()["id"])
    wait(page, "return document.getElementById('job').textContent.includes('32 x 32 pixels at least')")
    checked(page, "failed")


def checked(page: Any, state: str) -> None:
    """Wide and narrow, light and dark: no violation, nothing that scrolls sideways."""
    axe = files("axe_core_python").joinpath("axe.min.js").read_text()
    for size, width in ((wide, None), (narrow, 390)):
        size(page)
        for scheme in ("light", "dark"):
            emulate(page, scheme)
            page.execute_script(axe)
            found = page.execute_async_script("axe.run().then((found) => arguments[0](found.violations))")
            told = [(each["id"], [node["html"][:100] for node in each["nodes"]]) for each in found]
            assert told == [], (state, scheme, width)
        if width is not None:
            assert page.execute_script("return document.documentElement.scrollWidth") == width, state
    wide(page)
    emulate(page, "light")


@pytest.mark.slow
def test_accuracy_pictures_and_comparison_say_what_the_files_hold(page: Any, carol: httpx2.Client) -> None:
    job = carol.post("/jobs", json=TRAINED).json()["id"]
    assert ended(carol, job)["state"] == "done"
    shown(page, job)
    wait(page, "return document.querySelector('.curve')")
    tickets = [sc.Ticket.load(carol.get(f"/jobs/{job}/ticket?density={each}").content) for each in (0.1, 0.02)]
    rounds = tickets[0].provenance["rounds"]
    densities = [1.0, *(each["density"] for each in rounds[:-1])]
    script = """const named = (table) => table.caption.textContent === arguments[0];
      const table = [...document.querySelectorAll('table')].find(named);
      return [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));"""
    expected = [
        [f"{density:.3g}", f"{100 * each['validation_accuracy']:.2f} %"]
        for density, each in zip(densities, rounds, strict=True)
    ]
    assert page.execute_script(script, "Accuracy against density") == expected
    pixels = tickets[0].mask.tensors["1.weight"].sum(0).reshape(8, 8)
    told = page.execute_script(script, "Units that look at each pixel")
    assert [[int(each) for each in row[1:]] for row in told] == pixels.tolist()
    size = page.execute_script(
        "const found = document.querySelector('.strip canvas'); return [found.width, found.height]"
    )
    assert size == [64, 150]  # 300 units, two in a row of the picture
    page.find_element("xpath", "//button[text()='Compare']").click()
    wait(page, "return document.getElementById('job').textContent.includes('Jaccard index')")
    masks = [ticket.mask.tensors for ticket in tickets]
    *rows, whole = page.execute_script(script, "Two tickets, layer by layer")
    expected_both = 0.0
    for row in rows:
        one, other = masks[0][row[0]], masks[1][row[0]]
        both, either = int((one & other).sum()), int((one | other).sum())
        chance = int(one.sum()) * int(other.sum()) / one.numel()
        expected_both += chance
        assert row[1:5] == [f"{int(each):,}" for each in (one.sum(), other.sum(), both)] + [f"{both / either:.3f}"]
        assert row[6] == f"{chance / (int(one.sum()) + int(other.sum()) - chance):.3f}"
    kept = sum(ticket.mask.kept for ticket in tickets)
    assert whole[0] == "all layers"
    assert whole[6] == f"{expected_both / (kept - expected_both):.3f}"


@pytest.mark.slow
def test_everything_is_done_by_keyboard(page: Any, carol: httpx2.Client, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    def tab_to(condition: str) -> None:
        for _ in range(120):
            press(Keys.TAB)
            if page.execute_script(f"const at = document.activeElement; return {condition}"):
                outline = "const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement); "
                assert page.execute_script(outline + "return outlineStyle !== 'none' && outlineWidth !== '0px'")
                return
        raise AssertionError(f"Tab does not come to {condition}")

    page.execute_script("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    tab_to("at.id === 'network'")
    tab_to("at.name === 'kind'")
    press(Keys.ARROW_RIGHT)
    tab_to("at.id === 'scorer'")
    press("random")
    tab_to("at.id === 'densities'")
    ActionChains(page).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    press("0.1, 0.05", Keys.ENTER)
    wait(page, "return document.activeElement.id === 'job-title'")
    job = shown(page)
    assert carol.get(f"/jobs/{job}").json()["request"] == {
        "network": "lenet_300_100", "seed": 0, "task": "digits", "scorer": "random", "density": [0.1, 0.05]
    }  # fmt: skip
    said = page.find_element("id", "news").get_attribute("textContent")
    assert said == "lenet_300_100 on digits: done"
    tab_to("at.id === 'density'")
    press("0.05")
    shown(page)
    tab_to("at.textContent === 'Download ticket'")
    with downloads(page, tmp_path):
        press(Keys.ENTER)
    assert sc.Ticket.load(tmp_path / "ticket-0.05.safetensors").mask.density == 0.05
    tab_to("at.tagName === 'SUMMARY'")
    press(Keys.ENTER)
    wait(page, "return document.querySelector('.ticket details[open]')")
    tab_to("at.textContent === 'Compare'")
    press(Keys.ENTER)
    wait(page, "return document.getElementById('job').textContent.includes('Jaccard index')")
    page.execute_script("document.querySelector('.skip').focus()")
    press(Keys.ENTER)
    tab_to("at.textContent === 'Remove'")
    press(Keys.ENTER)
    wait(page, "return document.getElementById('jobs').textContent === 'There are no jobs yet.'")
    assert carol.get(f"/jobs/{job}").status_code == 404


@pytest.mark.slow
def test_what_is_hostile_is_shown_as_text(page: Any) -> None:
    page.execute_script("arguments[0].value = arguments[1]", page.find_element("id", "network"), EVIL)
    page.find_element("id", "prune").click()
    wait(page, "return document.getElementById('form-error').textContent.includes('<img src=x')")
    drop(page, f"{EVIL}.safetensors".replace("/", "-"), b"no such file")
    wait(page, "return document.getElementById('form-error').textContent.includes('no safetensors file')")
    assert "<img src=x" in page.find_element("id", "file-about").text
    report = {
        "method": EVIL, "kept": 1, "prunable": 2, "density": 0.5, "effective_density": None, "passes": 1, "seconds": 1,
        "checks": {"frozen": EVIL}, "collapsed": [EVIL],
        "layers": [{"weight": EVIL, "shape": [1, 2], "kept": 1, "prunable": 2, "density": 0.5, "excluded": True,
                    "units": 1, "live_units": None}],
    }  # fmt: skip
    job = {
        "id": "0" * 24, "state": "done", "created": 0, "started": 0, "ended": 0, "attempts": 1, "error": EVIL,
        "waiting_before": None, "progress": None, "densities": [0.5],
        "request": {"network": EVIL, "task": EVIL, "scorer": EVIL, "regime": EVIL, "density": 0.5},
    }  # fmt: skip
    told = {
        "/jobs": [job],
        f"/jobs/{job['id']}": job,
        f"/jobs/{job['id']}/report": {"densities": {"0.5": report}, "warnings": [EVIL]},
    }
    page.execute_script(
        """const told = arguments[0], problem = arguments[1];
        window.fetch = async (address) => (address in told
          ? new Response(JSON.stringify(told[address]))
          : new Response(JSON.stringify({ detail: problem }), { status: 404 }));
        window.fetch.bind = () => window.fetch;""",
        told | {f"/jobs/{job['id']}/events": ""},
        EVIL,
    )
    page.execute_script("location.hash = arguments[0]", job["id"])
    wait(page, "return document.querySelectorAll('.code pre').length === 2")
    text = page.find_element("id", "work").text
    assert text.count(EVIL) > 8
    assert page.execute_script("return window.hacked") is None
    assert page.execute_script("return document.querySelectorAll('img, #work b').length") == 0


@pytest.mark.slow
def test_what_is_chosen_is_what_is_asked_for(page: Any) -> None:
    """Bodies of `POST /jobs` by what the form says; none is sent."""
    page.execute_script(
        """const ask = window.fetch;
        window.bodies = [];
        window.fetch = (address, more = {}) => {
          if (more.method !== 'POST') return ask(address, more);
          window.bodies.push(JSON.parse(more.body));
          return Promise.resolve(new Response('{"detail": "not now"}', { status: 503 }));
        };"""
    )
    common = {"network": "lenet_300_100", "seed": 0, "density": 0.02}
    digits = common | {"task": "digits"}
    shaped = common | {"input_shape": [1, 28, 28], "outputs": 10, "passes": 0}
    regime = {"regime": "UMS", "regime_settings": {"rounds": 3, "scope": "layer"}}
    cases: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({"kind": "passes", "passes": "1"}, digits | {"passes": 1}),
        ({"task": "", "passes": "0"}, shaped),
        ({"task": "digits", "kind": "scorer", "scorer": "grasp", "scorer-settings-temperature": "2"},
         digits | {"scorer": "grasp", "scorer_settings": {"temperature": 2}}),
        ({"scorer": "synflow", "on": "snip"}, digits | {"scorer": "synflow", "on": "snip"}),
        ({"regime": "UMS", "regime-settings-rounds": "3", "regime-settings-scope": "layer"},
         digits | regime | {"scorer": "synflow", "on": "snip"}),
        ({"kind": "predictor", "predictor": "policy", "regime": ""}, digits | {"predictor": "policy"}),
        ({"scorer": "synflow"}, digits | {"predictor": "policy", "scorer": "synflow", "on": "predicted"}),
        ({"recipe": "lenet", "recipe-settings-max_steps": "50", "recipe-settings-nesterov": "true",
          "densities": "0.1,0.2"},
         digits | {"predictor": "policy", "scorer": "synflow", "on": "predicted", "recipe": "lenet",
                   "recipe_settings": {"max_steps": 50, "nesterov": True}, "density": [0.1, 0.2]}),
    ]  # fmt: skip
    for chosen, expected in cases:
        for name, text in chosen.items():
            page.execute_script(
                """const [name, text] = arguments;
                if (name === 'kind') return document.querySelector(`[value="${text}"]`).click();
                const node = document.getElementById(name);
                node.value = text;
                for (const kind of ['input', 'change']) node.dispatchEvent(new Event(kind));""",
                name,
                text,
            )
        page.find_element("id", "prune").click()
        wait(page, "return document.getElementById('form-error').textContent === 'not now'")
        assert page.execute_script("return window.bodies.at(-1)") == expected
        JobRequest(**expected)
        page.execute_script("document.getElementById('form-error').textContent = ''")
    page.execute_script("document.getElementById('densities').value = 'x'")
    page.find_element("id", "prune").click()
    wait(page, "return document.getElementById('form-error').textContent === 'The density is “x”, expected a number.'")
    assert page.execute_script("return window.bodies.length") == len(cases)


@pytest.mark.slow
def test_a_file_that_is_too_large_is_not_read(page: Any) -> None:
    page.execute_script("Object.defineProperty(File.prototype, 'size', { get: () => 2.5e9 })")
    drop(page, "large.safetensors", b"0")
    wait(page, "return document.getElementById('form-error').textContent")
    said = page.find_element("id", "form-error").text
    assert said == "The file has 2500.0 MB, at most 2000 MB are taken."
    assert page.find_element("id", "file-about").text == "large.safetensors: not uploaded"
    page.find_element("id", "prune").click()
    wait(page, "return document.getElementById('form-error').textContent.startsWith('The weights were not uploaded')")


@pytest.mark.slow
def test_without_events_the_page_asks_again_and_again(page: Any, carol: httpx2.Client) -> None:
    page.execute_script(
        """const ask = window.fetch;
        window.asked = [];
        window.fetch = (address, ...more) => {
          window.asked.push(address);
          return address.endsWith('/events') ? Promise.reject(new TypeError('no events')) : ask(address, ...more);
        };"""
    )
    asked_by_hand(page, "magnitude", "0.1")
    job = shown(page)
    asked = page.execute_script("return window.asked")
    assert f"/jobs/{job}/events" in asked
    assert f"/jobs/{job}" in asked


@pytest.mark.slow
def test_a_job_at_work_is_watched_and_cancelled(page: Any, carol: httpx2.Client) -> None:
    slow = {"task": "digits", "scorer": "synflow", "regime": "UMS", "regime_settings": {"rounds": 20_000}}
    job = carol.post("/jobs", json=slow).json()["id"]
    page.execute_script("location.hash = arguments[0]", job)
    wait(page, "return document.querySelector('#job .state')?.textContent.includes('left')")
    assert 0 < float(page.execute_script("return document.querySelector('#job progress').value")) < 1
    page.find_element("css selector", "#job .line button").click()
    wait(page, "return document.querySelector('#job .state').textContent === 'cancelled'")
    assert carol.get(f"/jobs/{job}").json()["state"] == "cancelled"
    wait(page, "return document.querySelector('#jobs .state')?.textContent === 'cancelled'")


@pytest.mark.slow
def test_an_upload_goes_on_where_it_broke_off(page: Any, carol: httpx2.Client) -> None:
    content = save({"w": torch.rand(1_000_000)})
    digest, half = hashlib.sha256(content).hexdigest(), 3_000_000

    def breaking() -> Iterator[bytes]:
        yield content[:half]
        time.sleep(0.5)
        raise io.UnsupportedOperation("the connection breaks")

    with suppress(io.UnsupportedOperation):
        carol.put(f"/networks/{digest}", content=breaking(), headers={"Content-Length": str(len(content))})
    begin = int(carol.head(f"/networks/{digest}").headers["upload-offset"])
    assert 0 < begin <= half
    page.execute_script(
        """const { send, setRequestHeader } = XMLHttpRequest.prototype;
        window.ranges = [];
        XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
          if (name === 'Content-Range') window.ranges.push(value);
          return setRequestHeader.call(this, name, value);
        };
        XMLHttpRequest.prototype.send = function (body) {
          return window.ranges.length === 1 ? this.onerror() : send.call(this, body);
        };"""
    )
    drop(page, "w.safetensors", content)
    wait(page, f"return document.getElementById('file-about').textContent.includes('{digest[:12]}')")
    size = len(content)
    assert page.execute_script("return window.ranges") == [
        f"bytes 0-{size - 1}/{size}",
        f"bytes {begin}-{size - 1}/{size}",
    ]
    assert carol.get(f"/networks/{digest}").json()["bytes"] == size
