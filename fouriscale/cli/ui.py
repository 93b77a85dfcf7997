"""`fouriscale ui`: a page with the extension's accordion, for those without a WebUI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import model as bundled
from ..errors import FouriScaleError
from ..hosts.diffusers.sampling import Request, load, sample
from ..unet.structure import describe


def ui(
    model: Annotated[str, typer.Option(help="Folder, .safetensors file or hub id.", show_default="bundled")] = "",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens the page to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 7865,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps …")] = "cpu",
    presets: Annotated[
        Path | None,
        typer.Option(help="Folder for your own presets.", show_default="user_presets in the checkout, else your data"),
    ] = None,
) -> None:
    """Serve a page that makes pictures plain and with FouriScale, side by side."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        from ..hosts.webui.page import build_page, serve
        from ..hosts.webui.user_presets import default_folder
    except ImportError:
        raise FouriScaleError("the page needs gradio: make ui, or pip install -r requirements/ui.txt") from None
    pipe = load(model or bundled.folder(), device=device)
    family = describe(pipe.unet).family
    steps, cfg = (50, 5.0 if family == "sdxl" else 7.5) if model else (bundled.STEPS, bundled.CFG)

    # The order of the page's call; see `fouriscale.hosts.webui.page.Maker`.
    def make(prompt: str, negative: str, width: int, height: int, *rest: Any) -> tuple[Any, float]:
        steps, cfg, seed, settings, preset, on_step = rest
        request = Request(
            prompt=prompt, negative=negative, width=width, height=height, steps=steps, cfg=cfg, seed=seed,
            settings=settings, preset=preset,
        )  # fmt: skip
        result = sample(pipe, request, on_step)
        return result.image, result.seconds

    base = 8 * int(pipe.unet.config.sample_size)
    own_presets = presets or default_folder()
    page = build_page(pipe.unet, make, own_presets, base, "hamburger" if not model else "", steps, cfg)
    serve(page, host, port)
