"""Cases on the WebUI's own page in Chromium: a picture's text restores the controls, and the X/Y/Z plot runs."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..browser import opened, quiet_after, until
from .basic import Case
from .client import Skipped, Webui

LONG = 600.0  # seconds that a generation may take
# What the picture is made with, and what the page's controls must show after it was dropped there.
WANTED = {"start": 0.3, "stop": 0.5, "guidance": False, "freeu": True, "preset": "Custom", "passes": "Both"}


def open_page(web: Webui) -> Any:
    """The page in Chromium; raises Skipped without playwright or Chromium."""
    try:
        return opened(web.url, 1400, 1400, LONG)
    except (ImportError, RuntimeError) as error:
        raise Skipped(str(error)) from None


def pick(page: Any, box: str, text: str) -> None:
    """Choose `text` in a dropdown."""
    field = page.locator(f"{box} input").first
    field.click()
    field.fill(text)
    page.locator("ul.options li", has_text=text).first.dispatch_event("mousedown")
    field.press("Tab")


def shown_controls(page: Any) -> dict[str, Any]:
    """What the controls named in WANTED show, the switch as "enabled" and the base size besides."""

    def element(name: str) -> str:
        return f"#txt2img_fouriscale_{name}"

    shown: dict[str, Any] = {"enabled": page.locator(f"{element('enabled')}-checkbox input").is_checked()}
    for name in ("start", "stop"):
        shown[name] = float(page.locator(f"{element(name)} input[type=number]").first.input_value())
    for name in ("guidance", "freeu"):
        shown[name] = page.locator(f"{element(name)} input").first.is_checked()
    shown["preset"] = page.locator(f"{element('preset')} input").first.input_value()
    shown["passes"] = page.locator(f"{element('passes')} input:checked").first.input_value()
    shown["base"] = page.locator(f"{element('base')} textarea, {element('base')} input").first.input_value()
    return shown


def generate(page: Any, web: Webui) -> str:
    """Press Generate and wait for the end; the text under the pictures."""
    info = page.locator("#html_info_txt2img")  # A1111 has two of them, one without text
    before = info.all_inner_texts()
    page.locator("#txt2img_generate").click()

    def ended() -> bool:
        idle = not web.call("/sdapi/v1/progress?skip_current_image=true")["state"]["job"]
        return idle and info.all_inner_texts() != before

    until(page, ended, LONG)
    return str(max(info.all_inner_texts(), key=len))


def drop_picture(page: Any, png: str) -> None:
    """Put a picture into the PNG Info tab and send it to txt2img."""
    page.locator("#tabs button", has_text="PNG Info").first.click()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(base64.b64decode(png.split(",")[-1]))
        page.locator("#pnginfo_image input[type=file]").set_input_files(str(path))
        page.locator("#tab_pnginfo", has_text="FouriScale").first.wait_for()
    with quiet_after(page, LONG):
        page.locator("#tab_pnginfo #txt2img_tab").click()
        page.locator("#txt2img_generate").wait_for()


def restored(web: Webui) -> str:
    """Drop a picture made by the API on the page, look at the controls, and generate the same from there."""
    made = web.pictures(web.args(**WANTED))
    with open_page(web) as page:
        drop_picture(page, made["png"])
        shown = shown_controls(page)
        expected = {"enabled": True, **WANTED, "base": web.base}
        wrong = {k: (shown[k], v) for k, v in expected.items() if shown[k] != v}
        assert not wrong, f"shown and expected: {wrong}"
        text = generate(page, web)
    found = re.findall(r"FouriScale[^,\n]*", text)
    own = re.findall(r"FouriScale[^,\n]*", made["info"]["infotexts"][0])
    assert found == own, f"the page's picture says {found}, the API's {own}"
    assert web.last()["unet_calls"] > 0, web.last()
    return f"{len(expected)} controls as in the picture; generated again: the same {len(own)} entries"


def plotted(web: Webui) -> str:
    """X/Y/Z plot on the page: [FouriScale] Start against [FouriScale] Guidance, four cells."""
    made = web.pictures(web.args(**WANTED))
    with open_page(web) as page:
        drop_picture(page, made["png"])
        pick(page, "#script_list", "X/Y/Z plot")
        plot = "#script_txt2img_xyz_plot"
        pick(page, f"{plot}_x_type", "[FouriScale] Start")
        page.locator(f"{plot}_x_values textarea, {plot}_x_values input").first.fill("0.1, 0.4")
        pick(page, f"{plot}_y_type", "[FouriScale] Enabled")
        page.locator(f"{plot}_csv_mode input").first.check()  # values as text, not from a dropdown
        page.locator(f"{plot}_y_values textarea, {plot}_y_values input").first.fill("True, False")
        page.locator(f"{plot}_include_lone_images input").first.check()
        generate(page, web)
        info = json.loads(page.locator("#generation_info_txt2img textarea").first.input_value())
        pictures = page.locator("#txt2img_gallery img").count()
    assert pictures >= 1, "no grid on the page"
    starts = [
        match.group(1) if (match := re.search("FouriScale start: ([0-9.]+)", t)) else "" for t in info["infotexts"]
    ]
    assert web.last()["start"] == 0.4, web.last()  # of the last cell in which FouriScale was on
    assert {"0.1", "0.4", ""} <= set(starts), info["infotexts"]
    return f"start in the pictures' texts: {', '.join(s or 'off' for s in starts)}; {pictures} pictures on the page"


def cases(web: Webui) -> Iterator[Case]:
    """Name and action of every case, in order."""
    yield "page: picture dropped on PNG Info", lambda: restored(web)
    yield "page: X/Y/Z plot", lambda: plotted(web)
