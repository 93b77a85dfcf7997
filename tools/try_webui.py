"""Tries the extension in a running WebUI by its API, case by case, and prints a Markdown table.

    python -m tools.try_webui --url http://127.0.0.1:7860 --size 1024 --base 512x512 --steps 4

The WebUI must run with --api. Each case makes its pictures plain and with FouriScale from one seed; the table says how
much they differ (mean absolute difference in 1/255) and how many hooks are left on the UNet afterwards (must be 0).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

SAMPLERS = ("Euler a", "DDIM", "DPM++ 2M", "DPM++ SDE", "Heun", "UniPC", "PLMS", "LMS")


class Webui:
    """A WebUI's API, and the request that the cases vary."""

    def __init__(self, url: str, size: int, base: str, steps: int, extra: dict[str, Any]):
        self.url = url.rstrip("/")
        self.base = base
        self.body: dict[str, Any] = {
            "prompt": "hamburger", "negative_prompt": "", "width": size, "height": size, "steps": steps, "seed": 1,
            "cfg_scale": 5, "sampler_name": "Euler", **extra,
        }  # fmt: skip

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; raises urllib.error.HTTPError for other answers than 200."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=3600) as answer:
            return json.load(answer)

    def pictures(
        self, args: dict[str, Any] | list[Any] | None, path: str = "txt2img", **changes: Any
    ) -> dict[str, Any]:
        """Pictures as arrays and the info text. args: FouriScale's, or None for plain."""
        body = {**self.body, **changes}
        if args is not None:
            script = {"FouriScale": {"args": args if isinstance(args, list) else [args]}}
            body["alwayson_scripts"] = {**body.get("alwayson_scripts", {}), **script}
        answer = self.call(f"/sdapi/v1/{path}", body)
        images = [Image.open(io.BytesIO(base64.b64decode(i.split(",")[-1]))) for i in answer["images"]]
        return {
            "arrays": [np.asarray(i.convert("RGB"), np.float32) for i in images],
            "info": json.loads(answer["info"]),
            "png": answer["images"][0],
        }

    def hooks(self) -> int:
        """Hooks that are on the UNet now."""
        return int(self.call("/fouriscale/v1/status")["hooks"])

    def last(self) -> dict[str, Any]:
        """The last run's report."""
        return self.call("/fouriscale/v1/status")["last"] or {}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[float]:
    """Mean absolute difference of each pair of pictures, in 1/255."""
    return [float(abs(a - b).mean()) for a, b in zip(one["arrays"], other["arrays"], strict=True)]


def compared(web: Webui, args: Any = None, **changes: Any) -> str:
    """Plain against FouriScale; raises AssertionError unless every picture differs."""
    args = {"enabled": True, "base": web.base} if args is None else args
    found = differences(web.pictures(None, **changes), web.pictures(args, **changes))
    assert min(found) > 0.1, f"no effect: {found}"
    last = web.last()
    return "differs by " + ", ".join(f"{d:.1f}" for d in found) + f"; {last['unet_calls']} UNet calls at work"


def unchanged(web: Webui, args: Any, **changes: Any) -> str:
    """Plain against arguments that must have no effect; returns the reason or comment."""
    made = web.pictures(args, **changes)
    found = differences(web.pictures(None, **changes), made)
    assert max(found) == 0.0, f"differs by {found}"
    comments = json.dumps(made["info"].get("comments") or made["info"]["infotexts"][0])
    return "plain; " + (web.last().get("reason") or "") + (" (in comments)" if "FouriScale skipped" in comments else "")


def interrupted(web: Webui) -> str:
    """Interrupt a long run in the middle."""
    threading.Timer(4.0, lambda: web.call("/sdapi/v1/interrupt", {})).start()
    start = time.time()
    web.pictures({"enabled": True, "base": web.base}, steps=150)
    return f"ended after {time.time() - start:.0f} s of 150 steps"


def pasted(web: Webui) -> str:
    """A picture's own text, given back by the API's infotext field, makes the same picture."""
    first = web.pictures({"enabled": True, "base": web.base, "start": 0.3, "guidance": False})
    text = web.call("/sdapi/v1/png-info", {"image": "data:image/png;base64," + first["png"]})["info"]
    body = {k: v for k, v in web.body.items() if k in ("sampler_name", "override_settings", "hr_additional_modules")}
    again = web.call("/sdapi/v1/txt2img", {**body, "infotext": text})
    image = Image.open(io.BytesIO(base64.b64decode(again["images"][0].split(",")[-1]))).convert("RGB")
    difference = float(abs(np.asarray(image, np.float32) - first["arrays"][0]).mean())
    assert difference < 0.5, f"differs by {difference:.2f}"
    return f"same picture (difference {difference:.2f}) from: {text.split('FouriScale', 1)[1][:90]}"


def img2img(web: Webui) -> str:
    """img2img from the plain picture."""
    start = "data:image/png;base64," + web.pictures(None)["png"]
    return compared(web, path="img2img", init_images=[start], denoising_strength=0.9)


def plotted(web: Webui) -> str:
    """An X/Y/Z plot over FouriScale's switch: two cells, the first plain."""
    info = web.call("/sdapi/v1/script-info")
    plot = next(s for s in info if s["name"] == "x/y/z plot" and not s["is_img2img"])
    labels = plot["args"][0]["choices"]
    axis = labels.index("[FouriScale] Enabled")
    args = [axis, "False,True", [], 0, "", [], 0, "", [], False, False, False, False, False, False, 0, True, True]
    always = {"FouriScale": {"args": [{"enabled": True, "base": web.base}]}}
    body = {
        **web.body,
        "script_name": "x/y/z plot",
        "script_args": args[: len(plot["args"])],
        "alwayson_scripts": always,
    }
    answer = web.call("/sdapi/v1/txt2img", body)
    texts = json.loads(answer["info"])["infotexts"]
    marked = ["FouriScale: True" in t for t in texts]
    assert marked[-2:] == [False, True] or marked[1:3] == [False, True], texts
    return f"{sum('FouriScale' in str(label) for label in labels)} axes; cells marked {marked}"


def cases(web: Webui) -> Iterator[tuple[str, Callable[[], str]]]:
    """Name and action of every case, in order."""
    yield "txt2img", lambda: compared(web)
    yield "by position", lambda: compared(web, [True, "Custom", "Both", "published", True, True, True, 0.2, 0.6, 2])
    for sampler in SAMPLERS:
        yield f"sampler {sampler}", lambda sampler=sampler: compared(web, sampler_name=sampler)
    yield "batch size 2", lambda: compared(web, batch_size=2)
    yield "batch count 2", lambda: compared(web, n_iter=2)
    yield "AND prompt, batch 2", lambda: compared(web, prompt="hamburger AND pizza :0.5", batch_size=2)
    yield "long prompt (unequal tokens)", lambda: compared(web, prompt="hamburger, " * 60)
    yield "CFG 1", lambda: compared(web, cfg_scale=1)
    yield "guidance off", lambda: compared(web, {"enabled": True, "base": web.base, "guidance": False})
    yield "width twice the height", lambda: compared(web, height=web.body["height"] // 2)
    odd = web.body["height"] // 2 + 72
    yield f"height {odd}, not a multiple of 64", lambda: compared(web, height=odd)
    half = {"width": web.body["width"] // 2, "height": web.body["height"] // 2}
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.8, "hr_upscaler": "Latent", **half}
    yield "hires, both passes", lambda: compared(web, **hires)
    yield (
        "hires, hires pass only",
        lambda: compared(web, {"enabled": True, "base": web.base, "passes": "Hires pass"}, **hires),
    )
    yield (
        "hires, first pass only (at base size)",
        lambda: unchanged(web, {"enabled": True, "base": web.base, "passes": "First pass"}, **hires),
    )
    yield "img2img", lambda: img2img(web)
    yield "X/Y/Z plot", lambda: plotted(web)
    yield "PNG text given back", lambda: pasted(web)
    yield "interrupt", lambda: interrupted(web)
    yield "disabled afterwards", lambda: unchanged(web, {"enabled": False})
    yield "bad value", lambda: unchanged(web, {"enabled": True, "start": 7})
    yield "unknown preset", lambda: unchanged(web, {"enabled": True, "preset": "nonsense"})
    yield "unknown argument", lambda: unchanged(web, {"enabled": True, "nonsense": 1})
    yield "too many positions", lambda: unchanged(web, [True, "Auto", "nonsense"])
    yield "size at base", lambda: unchanged(web, {"enabled": True, "base": f"{web.body['width']}x{web.body['height']}"})


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--base", default="512x512")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", default="", help="comma-separated parts of case names")
    parser.add_argument("--extra", default="{}", help="more fields of every request, JSON")
    given = parser.parse_args()
    web = Webui(given.url, given.size, given.base, given.steps, json.loads(given.extra))
    print("| case | result | hooks left | seconds |\n|---|---|---|---|")
    for name, action in cases(web):
        if given.only and not any(part in name for part in given.only.split(",")):
            continue
        start = time.time()
        try:
            result = action()
        except urllib.error.HTTPError as error:
            result = f"FAILED: HTTP {error.code}: {error.read().decode(errors='replace')[:200]}"
        except (AssertionError, KeyError, StopIteration, ValueError) as error:
            result = f"FAILED: {type(error).__name__}: {error}"
        print(f"| {name} | {result} | {web.hooks()} | {time.time() - start:.0f} |".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
