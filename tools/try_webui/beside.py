"""Cases beside other scripts that work on the same UNet: FreeU, SAG, PAG, HRFix, thresholding, tiles, hypertile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .basic import Case, inpainted, with_options
from .client import Skipped, Webui, must_differ, must_equal

# Part of the script's name, and the arguments that follow after its switch (the rest stay at their defaults).
SCRIPTS: dict[str, tuple[Any, ...]] = {
    "selfattentionguidance": (1.0,),
    "perturbedattentionguidance": (15.0,),
    "dynamicthresholding": (2.0, 0.9),
    "kohya hrfix": (),
    "stylealign": (),
}


def beside(web: Webui, part: str, values: tuple[Any, ...], batch_size: int = 1) -> str:
    """Another script on, plain and with FouriScale; both act, and nothing of either is left."""
    name = web.script(part)["name"]
    on = {"scripts": {name: [True, *values]}, "batch_size": batch_size}
    plain, made = web.pictures(None, **on), web.pictures(web.args(), **on)
    calls = web.last().get("unet_calls")
    bare_plain, bare = web.pictures(None, batch_size=batch_size), web.pictures(web.args(), batch_size=batch_size)
    parts = [must_differ(plain, made, "FouriScale")]
    must_differ(bare_plain, plain, f"{part} alone", 0.0)
    parts.append(must_differ(bare, made, part, 0.0))
    must_equal(web.pictures(None, **on), plain, f"plain with {part} again")
    return "; ".join([*parts, f"{calls} UNet calls at work"])


def freeu(web: Webui) -> str:
    """Where the host's FreeU is on, ours steps aside."""
    name = web.script("freeu integrated")["name"]
    on = {"scripts": {name: [True]}}
    both, ours_off = web.pictures(web.args(freeu=True), **on), web.pictures(web.args(), **on)
    result = must_equal(both, ours_off, "FouriScale's FreeU on and off beside the host's")
    assert "FouriScale FreeU: True" not in both["info"]["infotexts"][0], both["info"]["infotexts"][0]
    alone = web.pictures(web.args(freeu=True))
    return result + "; " + must_differ(web.pictures(None, **on), both, "FouriScale") + said_of(alone)


def said_of(made: dict[str, Any]) -> str:
    """Whether the picture's text has our FreeU, when the host's is off."""
    assert "FouriScale FreeU: True" in made["info"]["infotexts"][0], made["info"]["infotexts"][0]
    return "; alone it is in the picture's text"


def tiled(web: Webui, part: str) -> str:
    """Tiled sampling: the UNet sees tiles of the training size, which FouriScale was not planned for."""
    name = web.script(part)["name"]
    width = int(web.base.split("x")[0])
    on = {"scripts": {name: [True, "MultiDiffusion", width, width, 0, 4]}}
    plain, made = web.pictures(None, **on), web.pictures(web.args(), **on)
    calls = web.last().get("unet_calls")
    must_differ(plain, web.pictures(None), f"{part} alone")
    if calls:
        return f"{must_differ(plain, made, 'FouriScale')}; {calls} UNet calls at work"
    return must_equal(plain, made, "tiles are left plain")


def hypertiled(web: Webui) -> str:
    """A1111's hypertile on the UNet's self-attention, in tiles of the training size."""
    web.needs_script("hypertile")
    tile = int(web.base.split("x")[0])
    on = {"hypertile_enable_unet": True, "hypertile_max_tile_unet": tile}
    return with_options(web, on, {"hypertile_enable_unet": False, "hypertile_max_tile_unet": 256}, "hypertile")


def soft(web: Webui) -> str:
    """Soft inpainting, where the host has it."""
    script = web.script("soft inpainting", is_img2img=True)
    if not script["args"]:
        raise Skipped("the script tells no arguments")
    blurred = {"mask_blur": 4, "scripts": {script["name"]: [True, 1, 0.5, 4, 0, 0.5, 2]}}
    return inpainted_softly(web, blurred)


def inpainted_softly(web: Webui, fields: dict[str, Any]) -> str:
    """As `inpainted`, but the kept half may change where the mask is blurred."""
    try:
        return inpainted(web, **fields)
    except AssertionError as error:
        if "was to be kept" not in str(error):
            raise
        return f"FouriScale differs; {error}"


def cases(web: Webui) -> Iterator[Case]:
    """Name and action of every case, in order."""
    for part, values in SCRIPTS.items():
        batch = 2 if part == "stylealign" else 1
        yield f"beside {part}", lambda part=part, values=values, batch=batch: beside(web, part, values, batch)
    yield "beside freeu", lambda: freeu(web)
    yield "beside multidiffusion", lambda: tiled(web, "multidiffusion")
    yield "beside hypertile", lambda: hypertiled(web)
    yield "soft inpainting", lambda: soft(web)
