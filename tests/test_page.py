"""The accordion in a real browser, under the gradio of each kind of WebUI.

Needs the two gradio folders that `make test` prepares, and Chromium; on CI both must be there.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import hosts_gradio
from tools.browser import until

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


# One browser and one server for each gradio, in whichever process its tests are run.
KINDS = [pytest.param(name, marks=pytest.mark.xdist_group(f"page-{name}")) for name in hosts_gradio.NAMES]


@pytest.fixture(scope="module", params=KINDS)
def page(request):
    """The page, opened in Chromium, with the headline already there."""
    playwright = pytest.importorskip("playwright.sync_api")
    folder = hosts_gradio.folder(request.param)
    if CHROMIUM is None:
        hosts_gradio.missing("Chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, str(ROOT / "tests" / "page_server.py"), str(port)]
    with subprocess.Popen(command, env=environment) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/", server)
            with playwright.sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                opened = browser.new_page(viewport={"width": 1200, "height": 1400})
                opened.set_default_timeout(60_000)
                # Fonts and scripts from elsewhere are not needed; asking for them only costs time-outs.
                opened.route("**/*", lambda r: r.continue_() if "127.0.0.1" in r.request.url else r.abort())
                opened.goto(f"http://127.0.0.1:{port}/", timeout=120_000)
                yield opened
                browser.close()
        finally:
            server.kill()


def _wait(url: str, server: subprocess.Popen) -> None:
    for _ in range(600):
        assert server.poll() is None, "the page's server ended"
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("the page's server did not answer in two minutes")


def _set(page, name: str, value: object) -> None:
    box = page.locator(f"#page_{name} input[type=number]").first
    box.fill(str(value))
    box.press("Tab")


def _headline(page, text: str) -> None:
    page.locator(".fouriscale-headline", has_text=text).first.wait_for()


@pytest.mark.timeout(300)
def test_the_headline_follows_the_size(page) -> None:
    _set(page, "width", 1024)
    _set(page, "height", 1024)
    _headline(page, "SD 1.5 1024×1024: dilation 2 over 512×512, about 1.2× time")
    _set(page, "width", 2048)
    _headline(page, "SD 1.5 2048×1024: dilation 4")
    _set(page, "width", 512)
    _set(page, "height", 512)
    _headline(page, "nothing to do, 512×512 is not larger than the 512×512")


@pytest.mark.timeout(300)
def test_a_late_answer_does_not_stay(page) -> None:
    """Two sizes in quick succession, and the answer to the first comes last."""
    _set(page, "width", 1024)
    _set(page, "height", 1024)
    _headline(page, "SD 1.5 1024×1024")
    held: list = []
    events: list = []
    page.on("request", lambda request: events.append(("asked", request)))
    page.on("requestfinished", lambda request: events.append(("answered", request)))

    def hold(route) -> None:
        if held or 2048 not in json.loads(route.request.post_data)["data"]:
            route.fallback()
        else:
            held.append(route)

    def asked_again() -> bool:
        """Whether something that was asked after the late answer has been answered."""
        late = events.index(("answered", held[0].request)) if ("answered", held[0].request) in events else len(events)
        asked = [request for what, request in events[late:] if what == "asked" and "/predict" in request.url]
        return any(("answered", request) in events for request in asked)

    page.route("**/predict*", hold)
    _set(page, "width", 2048)
    until(page, lambda: held)
    _set(page, "height", 1536)
    _headline(page, "SD 1.5 2048×1536: dilation 4")
    page.unroute("**/predict*")
    held[0].continue_()
    until(page, asked_again)
    _headline(page, "SD 1.5 2048×1536: dilation 4")


@pytest.mark.timeout(300)
def test_a_preset_sets_the_size(page) -> None:
    preset = page.locator("#page_fouriscale_preset input").first
    preset.click()
    preset.fill("SD 1.5 1280x1280")
    page.locator("li", has_text="SD 1.5 1280x1280").first.dispatch_event("mousedown")
    preset.press("Tab")
    page.locator("#page_fouriscale_use_size").click()
    _headline(page, "SD 1.5 1280×1280: dilation 3")
    assert page.locator("#page_width input[type=number]").first.input_value() == "1280"


@pytest.mark.timeout(300)
def test_generate_shows_plain_beside_fouriscale(page) -> None:
    _set(page, "width", 1024)
    _set(page, "height", 1024)
    page.locator("#page_generate").click()
    page.locator("#page_note", has_text="FouriScale: 0.5 s").first.wait_for()
    assert page.locator("#page_gallery img").count() >= 2


@pytest.mark.timeout(300)
def test_ids_are_unique_for_our_controls(page) -> None:
    for name in ("preset", "passes", "layers", "guidance", "filter", "start", "stop", "dilation", "base"):
        assert page.locator(f"#page_fouriscale_{name}").count() == 1, name


@pytest.mark.timeout(300)
def test_a_saved_preset_is_there_after_loading_again(page) -> None:
    _set(page, "width", 1024)
    _set(page, "height", 1024)
    page.locator("#page_fouriscale_custom .label-wrap").first.click()  # opens the group
    page.locator("#page_fouriscale_preset_name textarea, #page_fouriscale_preset_name input").first.fill("Castle")
    page.locator("#page_fouriscale_save").click()
    page.locator("#page_fouriscale_message", has_text="saved Castle").first.wait_for()
    assert page.locator("#page_fouriscale_replace:visible").count() == 0
    page.locator("#page_fouriscale_save").click()
    asked = "Castle is there already, in Castle.yaml. Replace it?"
    page.locator("#page_fouriscale_message", has_text=asked).first.wait_for()
    page.locator("#page_fouriscale_replace:visible").click()
    page.locator("#page_fouriscale_message", has_text="replaced Castle").first.wait_for()
    page.reload(timeout=120_000)
    _headline(page, "SD 1.5 1024×1024")
    preset = page.locator("#page_fouriscale_preset input").first
    preset.click()
    preset.fill("Cast")
    page.locator("li", has_text="Castle").first.dispatch_event("mousedown")
    assert preset.input_value() == "Castle"


@pytest.mark.timeout(300)
def test_a_preset_without_a_size_says_so(page) -> None:
    page.reload(timeout=120_000)
    _headline(page, "SD 1.5 1024×1024")
    page.locator("#page_fouriscale_use_size").click()
    page.locator("#page_fouriscale_size_note", has_text="Auto has no size of its own").first.wait_for()


def test_only_its_own_name_is_answered(page) -> None:
    for host, answered in (("127.0.0.1:1", True), ("evil.example", False)):
        request = urllib.request.Request(page.url, headers={"Host": host})
        try:
            code = urllib.request.urlopen(request, timeout=60).status
        except urllib.error.HTTPError as error:
            code = error.code
        assert code == (200 if answered else 403)


STUB = """<button id="txt2img_fouriscale_refresh" onclick="pressed.push(this.id)"></button>
<button id="img2img_fouriscale_refresh" onclick="pressed.push(this.id)"></button><script>
var pressed = [], loaded = [], tab = [], changed = [], opts = {sd_model_checkpoint: "a"};
function gradioApp() { return document; }
function onUiLoaded(f) { loaded.push(f); }
function onUiTabChange(f) { tab.push(f); }
function onOptionsChanged(f) { changed.push(f); }
</script>"""


def test_the_panels_are_renewed_when_loaded_and_at_each_tab(page) -> None:
    """Presets that were saved in one tab are chosen in the other."""
    stub = page.context.browser.new_page()
    stub.set_content(STUB)
    stub.add_script_tag(path=ROOT / "javascript" / "fouriscale.js")
    both = ["txt2img_fouriscale_refresh", "img2img_fouriscale_refresh"]
    for step, wanted in (
        ("loaded", both), ("tab", both), ("changed", both), ("changed", []), ("tab", both),
    ):  # fmt: skip
        assert stub.evaluate(f"pressed = []; {step}.forEach((f) => f()); pressed") == wanted
    stub.close()
