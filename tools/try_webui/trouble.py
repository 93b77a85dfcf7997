"""Cases in which a generation does not end as it should: exceptions inside the UNet and the hooks, interrupts."""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Iterator
from typing import Any

from .basic import Case, as_url
from .client import Webui, must_be_as_before, must_equal


def interrupted(web: Webui) -> str:
    """Interrupt a long run in the middle; the next plain picture is the earlier one."""
    before = web.pictures(None)
    threading.Timer(4.0, lambda: web.call("/sdapi/v1/interrupt", {})).start()
    start = time.time()
    web.pictures(web.args(), steps=150)
    seconds = time.time() - start
    must_equal(web.pictures(None), before, "plain afterwards")
    return f"ended after {seconds:.0f} s of 150 steps; the next plain picture is the earlier one"


def raising(web: Webui, word: str, **fields: Any) -> str:
    """The host fails or draws plain; no hook is left, every attribute is as it was, and so is the next picture."""
    before, before_made = web.pictures(None), web.pictures(web.args())
    state = web.state()
    try:
        web.pictures(web.args(), prompt=f"{web.body['prompt']} {word}", **fields)
        outcome = "the host went on"
    except urllib.error.HTTPError as error:
        outcome = f"HTTP {error.code}"
    hooks = web.hooks()
    assert hooks == 0, f"{hooks} hooks are left after {outcome}"
    must_be_as_before(web, state)
    must_equal(web.pictures(None), before, "plain afterwards")
    must_equal(web.pictures(web.args()), before_made, "FouriScale afterwards")
    return f"{outcome}; modules as before; the next pictures, plain and with FouriScale, are the earlier ones"


def cases(web: Webui) -> Iterator[Case]:
    """Name and action of every case, in order."""
    yield "interrupt", lambda: interrupted(web)
    yield "exception in a convolution", lambda: raising(web, "fault-in-conv")
    yield "exception in FouriScale's hook", lambda: raising(web, "fault-in-hook")
    yield "exception in a convolution, batch count 2", lambda: raising(web, "fault-in-conv", n_iter=2)

    def of_img2img() -> str:
        start = as_url(web.pictures(None)["png"])
        return raising(web, "fault-in-conv", path="img2img", init_images=[start], denoising_strength=0.9)

    yield "exception in a convolution, img2img", of_img2img
