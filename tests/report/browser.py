"""A headless Chromium that opens one page, and what it saw while doing so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def start(profile: Path) -> webdriver.Chrome:
    """Start Chromium with a fresh profile; where it is missing, fail on CI and skip elsewhere, saying what to do."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        sentence = "The page's tests need Chromium and its driver: run scripts/install-browser.sh (or `make browser`)."
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(180)  # axe takes some seconds, many on a machine that has other work
    return browser


def show(browser: webdriver.Chrome, page: Path, width: int = 1280, scheme: str = "light") -> None:
    """Open `page` at a width in pixels and in light or dark, with an empty log."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}, motion]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console said since the page was opened: errors, warnings and refused requests."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: webdriver.Chrome) -> list[str]:
    """The addresses asked for since the page was opened, except those that are inside the page itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if not address.startswith(("data:", "blob:"))]
