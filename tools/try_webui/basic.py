"""Cases that any WebUI with any one checkpoint can run: samplers, sizes, passes, prompts, wrong arguments."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from .client import Webui, compared, must_differ, must_equal, unchanged

Action = Callable[[], str]
Case = tuple[str, Action]
SAMPLERS = ("Euler a", "DDIM", "DPM++ 2M", "DPM++ SDE", "Heun", "UniPC", "PLMS", "LMS")


def as_url(png: str) -> str:
    """A picture of the API's as it takes one."""
    return "data:image/png;base64," + png


def half_mask(web: Webui) -> str:
    """An inpainting mask over the picture's right half."""
    size = web.body["width"], web.body["height"]
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return as_url(base64.b64encode(out.getvalue()).decode())


def pasted(web: Webui) -> str:
    """A picture's own text, given back by the API's infotext field, makes the same picture."""
    first = web.pictures(web.args(start=0.3, guidance=False))
    text = web.call("/sdapi/v1/png-info", {"image": as_url(first["png"])})["info"]
    body = {k: v for k, v in web.body.items() if k in ("sampler_name", "override_settings", "hr_additional_modules")}
    again = web.call("/sdapi/v1/txt2img", {**body, "infotext": text})
    image = Image.open(io.BytesIO(base64.b64decode(again["images"][0].split(",")[-1]))).convert("RGB")
    difference = float(abs(np.asarray(image, np.float32) - first["arrays"][0]).mean())
    assert difference < 0.5, f"differs by {difference:.2f}"
    return f"same picture (difference {difference:.2f}) from: {text.split('FouriScale', 1)[1][:90]}"


def img2img(web: Webui) -> str:
    """img2img from the plain picture."""
    start = as_url(web.pictures(None)["png"])
    return compared(web, path="img2img", init_images=[start], denoising_strength=0.9)


def inpainted(web: Webui, **changes: object) -> str:
    """Inpainting of one half: that half differs from the plain one, the other half does not."""
    start = as_url(web.pictures(None)["png"])
    fields = {"init_images": [start], "mask": half_mask(web), "denoising_strength": 0.9, "mask_blur": 0, **changes}
    plain = web.pictures(None, path="img2img", **fields)
    made = web.pictures(web.args(), path="img2img", **fields)
    middle = web.body["width"] // 2
    apart = abs(plain["arrays"][0] - made["arrays"][0])
    inside, outside = float(apart[:, middle:].mean()), float(apart[:, :middle].mean())
    assert inside > 0.1, f"no effect: {inside}; {web.last().get('reason')}"
    assert outside == 0.0, f"the half that was to be kept differs by {outside}"
    return f"masked half differs by {inside:.1f}, the other by 0; {web.last()['unet_calls']} UNet calls at work"


def plotted(web: Webui) -> str:
    """An X/Y/Z plot over FouriScale's switch: two cells, the first plain."""
    plot = web.script("x/y/z plot")
    labels = plot["args"][0]["choices"]
    axis = labels.index("[FouriScale] Enabled")
    args = [axis, "False,True", [], 0, "", [], 0, "", []]
    wanted = ("Use text inputs", "Include Sub Images")  # the latter for the cells' own texts, on reForge
    args += [str(arg["label"]).startswith(wanted) or arg["value"] for arg in plot["args"][len(args) :]]
    body = {"script_name": "x/y/z plot", "script_args": args}
    made = web.pictures(web.args(), **body)
    texts = made["info"]["infotexts"]
    marked = ["FouriScale: True" in t for t in texts]
    assert marked[-2:] == [False, True], texts
    return f"{sum('FouriScale' in str(label) for label in labels)} axes; cells marked {marked}"


def with_options(web: Webui, on: dict[str, object], off: dict[str, object], what: str, acts: bool = True) -> str:
    """Some of the host's options set, plain and with FouriScale, and put back. acts: they must change the pictures.

    They are set on the settings page: as overrides of a request, A1111 does not put all of them back.
    """
    bare = web.pictures(web.args())
    try:
        web.call("/sdapi/v1/options", on)
        plain, made = web.pictures(None), web.pictures(web.args())
        calls = web.last().get("unet_calls")
    finally:
        web.call("/sdapi/v1/options", off)
    parts = [must_differ(plain, made, "FouriScale")]
    if acts:
        parts.append(must_differ(bare, made, what))
    must_equal(bare, web.pictures(web.args()), "afterwards")
    return "; ".join([*parts, f"{calls} UNet calls at work"])


def cases(web: Webui) -> Iterator[Case]:
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
    yield "guidance off", lambda: compared(web, web.args(guidance=False))
    for method in ("scalecrafter", "attn-entropy"):
        # With random weights attention is nearly even, which leaves the second little to do.
        yield f"method {method}", lambda method=method: compared(web, web.args(method=method), 0.0)
    for name in ("low_memory", "fast", "freeu"):
        yield f"{name} on", lambda name=name: compared(web, web.args(**{name: True}))
    fast = web.args(fast=True)
    yield "fast on, Heun", lambda: compared(web, fast, sampler_name="Heun")
    yield "fast on, batch size 2, batch count 2", lambda: compared(web, fast, batch_size=2, n_iter=2)
    yield "amplified guidance", lambda: compared(web, web.args(amp_guidance=2.0))
    yield "width twice the height", lambda: compared(web, height=web.body["height"] // 2)
    odd = web.body["height"] // 2 + 72
    yield f"height {odd}, not a multiple of 64", lambda: compared(web, height=odd)
    half = {"width": web.body["width"] // 2, "height": web.body["height"] // 2}
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.8, "hr_upscaler": "Latent", **half}
    yield "hires, both passes", lambda: compared(web, **hires)
    yield "hires, both passes, fast on", lambda: compared(web, fast, **hires)
    yield "hires, hires pass only", lambda: compared(web, web.args(passes="Hires pass"), **hires)
    yield (
        "hires, first pass only (at base size)",
        lambda: unchanged(web, web.args(passes="First pass"), **hires),
    )
    yield "img2img", lambda: img2img(web)
    yield "img2img, inpainting", lambda: inpainted(web)
    yield (
        "inpainting, only masked",
        lambda: inpainted(web, inpaint_full_res=True, inpaint_full_res_padding=0),
    )
    yield "tiling", lambda: compared(web, tiling=True)
    merging = "token_merging_ratio"
    yield "token merging 0.5", lambda: with_options(web, {merging: 0.5}, {merging: 0.0}, "token merging")
    yield "NGMS", lambda: compared(web, s_min_uncond=4.0)
    apart = "batch_cond_uncond"
    yield (
        "uncond and cond in calls of their own",
        lambda: with_options(web, {apart: False}, {apart: True}, apart, False),
    )
    yield "X/Y/Z plot", lambda: plotted(web)
    yield "PNG text given back", lambda: pasted(web)
    yield "disabled afterwards", lambda: unchanged(web, {"enabled": False})
    yield "bad value", lambda: unchanged(web, {"enabled": True, "start": 7})
    yield "unknown preset", lambda: unchanged(web, {"enabled": True, "preset": "nonsense"})
    yield "unknown argument", lambda: unchanged(web, {"enabled": True, "nonsense": 1})
    yield "too many positions", lambda: unchanged(web, [True, "Auto", "nonsense"])
    size = f"{web.body['width']}x{web.body['height']}"
    yield "size at base", lambda: unchanged(web, {"enabled": True, "base": size})
