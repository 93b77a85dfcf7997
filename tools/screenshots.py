"""Takes the pictures of the panel that the documentation shows, in Chromium.

    python -m tools.screenshots ui --out docs/images/ui.png
    python -m tools.screenshots webui --url http://127.0.0.1:7860 --out docs/images/a1111.png --width 1024 --height 1024

"ui" serves the stand-alone page with a UNet that is never run, under the gradio that `make test` prepares; "webui"
opens a running WebUI's txt2img tab, sets the size, switches FouriScale on and takes its accordion. --custom opens the
inner accordion too, --theme dark takes the other theme.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .browser import opened, quiet_after

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def served(gradio: str) -> Iterator[str]:
    """The stand-alone page on a free port; yields its address. Raises RuntimeError if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.prefix) / gradio), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, str(ROOT / "tests" / "page_server.py"), str(port)]
    with subprocess.Popen(command, env=environment) as server:
        try:
            url = f"http://127.0.0.1:{port}/"
            _wait(url, server)
            yield url
        finally:
            server.kill()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.time() + 180
    while time.time() < end:
        if server.poll() is not None:
            raise RuntimeError("the page's server ended")
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError("the page's server did not answer in three minutes")


def set_number(page: Any, box: str, value: int) -> None:
    """A slider's number."""
    field = page.locator(f"{box} input[type=number]").first
    field.fill(str(value))
    field.press("Tab")


def settle(page: Any, tab: str, args: argparse.Namespace) -> None:
    """Open what is to be open, wait for the headline to speak of the size and for what is drawn after it."""
    size = args.width, args.height
    with quiet_after(page):
        if args.custom:
            page.locator(f"#{tab}_fouriscale_custom .label-wrap").first.click()
        page.locator(".fouriscale-headline", has_text=f"{size[0]}×{size[1]}").first.wait_for()
    page.evaluate("document.activeElement && document.activeElement.blur()")


def of_ui(args: argparse.Namespace) -> None:
    """The whole stand-alone page."""
    with served(args.gradio) as url, opened(f"{url}?__theme={args.theme}", 1100, 900, 300.0) as page:
        for side in ("width", "height"):
            set_number(page, f"#page_{side}", getattr(args, side))
        settle(page, "page", args)
        page.screenshot(path=str(args.out), full_page=True)


def of_webui(args: argparse.Namespace) -> None:
    """The accordion in the txt2img tab of a running WebUI."""
    address = args.url.rstrip("/") + f"/?__theme={args.theme}"
    with opened(address, 1500, 1400, 300.0) as page:
        page.locator("#txt2img_fouriscale_enabled").wait_for()
        with quiet_after(page):
            for side in ("width", "height"):
                set_number(page, f"#txt2img_{side}", getattr(args, side))
        # The host's switch opens the accordion and opening it sets the switch; pressing the switch itself can do both.
        bar = page.locator("#txt2img_fouriscale_enabled > .label-wrap").first
        if "open" not in str(bar.get_attribute("class")).split():
            bar.click()
        settle(page, "txt2img", args)
        page.locator("#txt2img_fouriscale_enabled").screenshot(path=str(args.out))


def main() -> None:
    """Read the command line and take one picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, action in (("ui", of_ui), ("webui", of_webui)):
        one = kinds.add_parser(kind)
        one.set_defaults(action=action)
        one.add_argument("--out", type=Path, required=True)
        one.add_argument("--custom", action="store_true")
        one.add_argument("--theme", choices=["light", "dark"], default="light")
        one.add_argument("--width", type=int, default=1024)
        one.add_argument("--height", type=int, default=1024)
        if kind == "ui":
            one.add_argument("--gradio", choices=["gradio3", "gradio4"], default="gradio4")
        else:
            one.add_argument("--url", default="http://127.0.0.1:7860")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.action(given)
    print(given.out)


if __name__ == "__main__":
    main()
