"""A real browser: headless Chromium through its driver, on a screen of any size and scheme."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
MISSING = CHROMIUM is None or DRIVER is None
NEEDS = "needs Chromium and its driver on PATH"
SECONDS = 120


def started() -> Any:
    """A browser; without Chromium the test is skipped, but on a CI machine it fails."""
    if MISSING and os.environ.get("CI"):
        pytest.fail(NEEDS)
    if MISSING:
        pytest.skip(NEEDS)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


def fresh(browser: Any, address: str) -> None:
    """Open an address on a wide light screen, with empty logs."""
    wide(browser)
    emulate(browser, "light")
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(address)


def wide(browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def narrow(browser: Any) -> None:
    """A phone's screen."""
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wait(browser, "return innerWidth === 390")


def emulate(browser: Any, scheme: str, media: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def wait(browser: Any, script: str) -> Any:
    """What a script returns, once that is true."""
    begin = time.monotonic()
    while time.monotonic() < begin + SECONDS:
        if found := browser.execute_script(script):
            return found
        time.sleep(0.05)
    raise AssertionError(f"not true after {SECONDS} s: {script}")
