"""Chromium on a page: opened without asking for fonts and scripts from elsewhere. Needs the playwright package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def opened(url: str, width: int = 1200, height: int = 1400, seconds: float = 120.0) -> Iterator[Any]:
    """A page of Chromium at `url`, as playwright has it; waits at most `seconds` for anything.

    Raises ImportError without playwright, RuntimeError without Chromium.
    """
    from playwright.sync_api import sync_playwright

    program = next((path for path in map(shutil.which, NAMES) if path), None)
    if program is None:
        raise RuntimeError("Chromium is not on the PATH")
    own = url.split("//", 1)[1].split("/", 1)[0]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(1000 * seconds)
            page.route(
                "**/*", lambda r: r.continue_() if own in r.request.url or "blob:" in r.request.url else r.abort()
            )
            page.goto(url, timeout=1000 * seconds)
            yield page
        finally:
            browser.close()
