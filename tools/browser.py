"""Chromium on a page: opened without asking for fonts and scripts from elsewhere. Needs the playwright package."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
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


def until(page: Any, condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the page go on until `condition` holds. Raises AssertionError where it does not in `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        page.wait_for_timeout(50)


@contextmanager
def quiet_after(page: Any, seconds: float = 120.0) -> Iterator[None]:
    """Around what makes a page ask its server: leaves when everything posted is answered and half a second passed."""
    pending: set[Any] = set()
    last = [time.monotonic()]

    def note(change: Callable[[Any], None], request: Any) -> None:
        if request.method == "POST":  # others may stay open for as long as the page does
            change(request)
            last[0] = time.monotonic()

    listeners = {
        "request": lambda request: note(pending.add, request),
        "requestfinished": lambda request: note(pending.discard, request),
        "requestfailed": lambda request: note(pending.discard, request),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        yield
        until(page, lambda: not pending and time.monotonic() - last[0] > 0.5, seconds)
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
