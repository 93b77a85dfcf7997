"""`fouriscale ui`: the same accordion on a page of its own, plain beside FouriScale, for those without a WebUI."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ...errors import FouriScaleError, SettingsError
from ...maths.sizes import check_picture_size
from ...unet.structure import describe
from .accordion import SwitchAccordion
from .args import parse, resolve
from .host_check import HostCheck
from .panel import PanelHost, build
from .report import Report
from .run import Environment
from .user_presets import load_all

# make(prompt, negative, width, height, steps, cfg, seed, settings or None, preset, on_step) -> (picture, seconds)
Maker = Callable[..., tuple[Any, float]]
NUMBERS = {"width": (64, 16384), "height": (64, 16384), "steps": (1, 1000), "cfg": (0, 100), "seed": (0, 2**64 - 1)}


def _style() -> str:
    """What WebUIs load from an extension's folder by themselves; missing where only the package was installed."""
    file = Path(__file__).resolve().parents[3] / "style.css"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def build_page(unet: Any, make: Maker, user_folder: Path, base: int, prompt: str, steps: int, cfg: float) -> Any:
    """The page as a gradio Blocks. base: the model's training side in pixels; the others are what it starts with."""
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet))
    report = Report()

    def environment() -> Environment:
        return Environment(load_all(user_folder)[0], report)

    with gr.Blocks(title="FouriScale") as page:
        gr.HTML(f"<style>{_style()}</style>")  # as gradio 3 to 6 all take it
        gr.Markdown("## FouriScale: the same seed, plain and with FouriScale")
        with gr.Row():
            prompt_box = gr.Textbox(prompt, label="Prompt", elem_id="page_prompt")
            negative = gr.Textbox("", label="Negative prompt", elem_id="page_negative")
        width, height, *others = _numbers(base, steps, cfg)
        host = PanelHost(
            SwitchAccordion, lambda: model, environment, lambda: user_folder, size_inputs=(width, height), enabled=True
        )
        panel = build("page", host)
        button = gr.Button("Generate", variant="primary", elem_id="page_generate")
        gallery = gr.Gallery(label="Pictures", elem_id="page_gallery", columns=2)
        note = gr.HTML("", elem_id="page_note")

        def generate(*values: Any, progress: Any = gr.Progress()) -> Any:  # noqa: B008
            words, avoid, *given = values[:7]
            arguments = values[7:]
            pictures: list[Any] = []
            lines: list[str] = []
            try:
                w, h, n, guidance_scale, number = map(_number, NUMBERS, given)
                check_picture_size(w, h)
                parsed = parse(arguments)
                settings, preset = resolve(parsed, describe(unet).family, w, h, environment().presets)
                runs = [("plain", None), ("FouriScale", settings)] if parsed.args.enabled else [("plain", None)]
                for index, (label, chosen) in enumerate(runs):

                    def on_step(done: int, index: int = index, label: str = label) -> None:
                        progress((index * n + done) / (len(runs) * n), desc=label)

                    picture, seconds = make(words, avoid, w, h, n, guidance_scale, number, chosen, preset, on_step)
                    pictures.append((picture, f"{label}, {seconds:.1f} s"))
                    lines.append(f"{label}: {seconds:.1f} s")
            except FouriScaleError as error:
                lines.append(str(error))
            return pictures, escape(", ".join(lines))

        inputs = [prompt_box, negative, width, height, *others, *panel.controls]
        button.click(generate, inputs=inputs, outputs=[gallery, note])
        for event in panel.on_load:
            page.load(**event)
    return page


def serve(page: Any, host: str, port: int, **more: Any) -> None:
    """Serve the page at an address, for requests by that address or as localhost only; more: for gradio's launch."""
    guard = {"middleware": [Middleware(HostCheck, bound=host)]}
    page.queue().launch(server_name=host, server_port=port, share=False, app_kwargs=guard, **more)


def _numbers(base: int, steps: int, cfg: float) -> tuple[Any, ...]:
    """A row of fields: width, height, steps, CFG scale, seed. base: side of the training size in pixels."""
    with gr.Row():
        return (
            gr.Slider(64, 8 * base, value=2 * base, step=8, label="Width", elem_id="page_width"),
            gr.Slider(64, 8 * base, value=2 * base, step=8, label="Height", elem_id="page_height"),
            gr.Slider(1, 100, value=steps, step=1, label="Steps", elem_id="page_steps"),
            gr.Slider(1, 20, value=cfg, step=0.5, label="CFG scale", elem_id="page_cfg"),
            gr.Number(0, label="Seed", precision=0, elem_id="page_seed"),
        )


def _number(name: str, value: Any) -> Any:
    """A number of the page's fields, within its range. Raises SettingsError; an emptied seed is 0."""
    low, high = NUMBERS[name]
    kind = float if name == "cfg" else int
    value = 0 if name == "seed" and value is None else value
    try:
        number = kind(value)
        if low <= number <= high and (kind is float or number == value):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise SettingsError(name, value, f"a {'' if kind is float else 'whole '}number from {low} to {high}")
