"""`fouriscale ui`: the same accordion on a page of its own, plain beside FouriScale, for those without a WebUI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from ..errors import FouriScaleError
from ..unet.structure import describe
from .accordion import SwitchAccordion
from .args import parse, resolve
from .panel import PanelHost, build
from .report import Report
from .run import Environment
from .user_presets import load_all

# make(prompt, negative, width, height, steps, cfg, seed, settings or None, preset, on_step) -> (picture, seconds)
Maker = Callable[..., tuple[Any, float]]


def _style() -> str:
    """What WebUIs load from an extension's folder by themselves; missing where only the package was installed."""
    file = Path(__file__).resolve().parents[2] / "style.css"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def build_page(unet: Any, make: Maker, user_folder: Path, base: int, prompt: str, steps: int, cfg: float) -> Any:
    """The page as a gradio Blocks. base: the model's training side in pixels; the others are what it starts with."""
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet))
    report = Report()

    def environment() -> Environment:
        return Environment(load_all(user_folder)[0], report)

    with gr.Blocks(title="FouriScale", css=_style()) as page:
        gr.Markdown("## FouriScale: the same seed, plain and with FouriScale")
        with gr.Row():
            prompt_box = gr.Textbox(prompt, label="Prompt", elem_id="page_prompt")
            negative = gr.Textbox("", label="Negative prompt", elem_id="page_negative")
        with gr.Row():
            width = gr.Slider(64, 8 * base, value=2 * base, step=8, label="Width", elem_id="page_width")
            height = gr.Slider(64, 8 * base, value=2 * base, step=8, label="Height", elem_id="page_height")
            step_count = gr.Slider(1, 100, value=steps, step=1, label="Steps", elem_id="page_steps")
            scale = gr.Slider(1, 20, value=cfg, step=0.5, label="CFG scale", elem_id="page_cfg")
            seed = gr.Number(0, label="Seed", precision=0, elem_id="page_seed")
        host = PanelHost(
            accordion=SwitchAccordion,
            model=lambda: model,
            environment=environment,
            user_folder=lambda: user_folder,
            size_inputs=(width, height),
            enabled=True,
        )
        panel = build("page", host)
        button = gr.Button("Generate", variant="primary", elem_id="page_generate")
        gallery = gr.Gallery(label="Pictures", elem_id="page_gallery", columns=2)
        note = gr.Markdown("", elem_id="page_note")

        def generate(*values: Any, progress: Any = gr.Progress()) -> Any:  # noqa: B008
            words, avoid, w, h, n, guidance_scale, number, *arguments = values
            w, h, n, number = int(w), int(h), int(n), int(number or 0)
            pictures, lines = [], []
            try:
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
            return pictures, ", ".join(lines)

        inputs = [prompt_box, negative, width, height, step_count, scale, seed, *panel.controls]
        button.click(generate, inputs=inputs, outputs=[gallery, note])
        page.load(**(panel.refresh or {}))
    return page
