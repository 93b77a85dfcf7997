"""The accordion: controls in the order of the script's arguments, a live headline, and saving of presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ...settings.presets import AUTO
from ...settings.settings import LAYER_SETS, METHODS, ROUNDINGS
from .args import CUSTOM, DEFAULTS, FIELDS, PASSES, TITLE
from .deciding import Page
from .describe import headline
from .infotext import paste_functions
from .plot import plot_html
from .preset_buttons import Widgets, bind_buttons
from .run import Environment


@dataclass(frozen=True)
class PanelHost:
    """What the panel asks of where it stands. size_inputs: the page's width and height components, if it has them.

    page_inputs: its other components that decide about size and passes, by their names in `Page`. resize_by_tabs: the
    tabs "Resize to" and "Resize by" of img2img, if it has them.
    """

    accordion: Callable[..., Any]
    model: Callable[[], Any]
    environment: Callable[[], Environment]
    user_folder: Callable[[], Path]
    default_preset: str = AUTO
    size_inputs: tuple[Any, Any] | None = None
    page_inputs: Mapping[str, Any] = field(default_factory=dict)
    resize_by_tabs: tuple[Any, Any] | None = None
    enabled: bool = False


@dataclass(frozen=True)
class Panel:
    """controls: in the order of the script's arguments. on_load: arguments of the events that a page has when it loads.

    Those renew the headline, and the names of the presets, which a page keeps as they were when it was built.
    """

    controls: list[Any]
    on_load: list[dict[str, Any]]


def build(tab: str, host: PanelHost) -> Panel:
    """Build the accordion in the current gradio context."""

    def element(name: str) -> str:
        return f"{tab}_fouriscale_{name}"

    with host.accordion(host.enabled, label=TITLE, elem_id=element("enabled")) as enabled:
        with enabled.extra():
            head = gr.HTML("", elem_id=element("headline"))
        with gr.Row():
            preset = gr.Dropdown(
                label="FouriScale preset",
                choices=_names(host),
                value=host.default_preset,
                elem_id=element("preset"),
                info="Auto follows model and size. Custom uses the sliders below.",
                allow_custom_value=True,  # a pasted name that is not known here must not fail the generation
            )
            use_size = gr.Button("Set size from preset", elem_id=element("use_size"), size="sm", scale=0)
            renew = gr.Button("Renew list", elem_id=element("renew"), size="sm", scale=0)
        size_note = gr.HTML("", elem_id=element("size_note"))
        with gr.Row():
            passes = gr.Radio(list(PASSES), value=PASSES[0], label="Pass", elem_id=element("passes"))
            layers = gr.Dropdown(
                list(LAYER_SETS),
                value=DEFAULTS.layers,
                label="FouriScale layers",
                elem_id=element("layers"),
                info="down+mid leaves the up blocks plain.",
                allow_custom_value=True,
            )
        with gr.Row():
            guidance = gr.Checkbox(
                True, label="Guidance (detail, at the price of extra rows)", elem_id=element("guidance")
            )
            low_pass = gr.Checkbox(True, label="Low-pass filter", elem_id=element("filter"))
            conditioning = gr.Checkbox(
                True, label="Tell SDXL the base size instead of the real one", elem_id=element("size_conditioning")
            )
            freeu = gr.Checkbox(False, label="FreeU (the authors' values)", elem_id=element("freeu"))
        with gr.Row():
            method = gr.Dropdown(
                list(METHODS), value=DEFAULTS.method, label="Method", elem_id=element("method"),
                info="The others are for comparison.",
            )  # fmt: skip
            amp = _slider("Amplified guidance before start", "amp_guidance", 1.0, 4.0, 0.1, element)
            low_memory = gr.Checkbox(
                False, label="Low memory (extra rows in a UNet call of their own)", elem_id=element("low_memory")
            )
            fast = gr.Checkbox(
                False, label="Fast (extra rows in every second step, not exact)", elem_id=element("fast")
            )
        with gr.Accordion("Custom", open=False, elem_id=element("custom")):
            *custom, rounding = _custom_controls(element)
            plot = gr.HTML("", elem_id=element("plot"))
            with gr.Row():
                name = gr.Textbox("", label="Preset name", elem_id=element("preset_name"), max_lines=1)
                save = gr.Button("Save preset", elem_id=element("save"))
                replace = gr.Button("Replace it", visible=False, elem_id=element("replace"))
                delete = gr.Button("Delete preset", elem_id=element("delete"))
            message = gr.HTML("", elem_id=element("message"))
        refresh = gr.Button("Refresh", visible=False, elem_id=element("refresh"))
    controls = [
        getattr(enabled, "checkbox", enabled),
        preset,
        passes,
        layers,
        guidance,
        low_pass,
        conditioning,
        *custom,
        amp,
        freeu,
        method,
        low_memory,
        fast,
        rounding,
    ]
    assert len(controls) == len(FIELDS)
    event = _live_headline(host, tab, controls, (head, plot), refresh)

    def names_now() -> Any:
        return gr.update(choices=_names(host))

    renewing: dict[str, Any] = {"fn": names_now, "inputs": [], "outputs": [preset]}
    renewing |= {"show_progress": "hidden", "queue": False}
    for button in (renew, refresh):  # presets may have been saved in the other tab, or put into the folder
        button.click(**renewing)
    bind_buttons(host, controls, Widgets(name, save, replace, delete, message, use_size, size_note), _names)
    return Panel(controls, [event, renewing] if event else [renewing])


def _custom_controls(element: Callable[[str], str]) -> list[Any]:
    """start … stopband_weak, in the order of the arguments, and rounding."""
    with gr.Row():
        start = _slider("FouriScale start", "start", 0.0, 1.0, 0.05, element)
        stop = _slider("FouriScale stop", "stop", 0.0, 1.0, 0.05, element)
        dilation = _slider("Dilation (0: by size)", "dilation", 0.0, 8.0, 0.25, element)
    with gr.Row():
        base = gr.Textbox(
            "", label="Base size", placeholder="auto, or WIDTHxHEIGHT", elem_id=element("base"), max_lines=1
        )
        strong = _slider("Strong stop-band (-1: by model)", "stopband_strong", -1.0, 1.0, 0.05, element)
        weak = _slider("Weak stop-band (-1: by model)", "stopband_weak", -1.0, 1.0, 0.05, element)
        rounding = gr.Dropdown(
            list(ROUNDINGS), value=DEFAULTS.rounding, label="Between whole multiples", elem_id=element("rounding")
        )
    return [start, stop, dilation, base, strong, weak, rounding]


def _slider(label: str, field: str, low: float, high: float, step: float, element: Callable[[str], str]) -> Any:
    return gr.Slider(low, high, value=getattr(DEFAULTS, field), step=step, label=label, elem_id=element(field))


def _names(host: PanelHost) -> list[str]:
    return [AUTO, *(p.name for p in host.environment().presets), CUSTOM]


def _live_headline(
    host: PanelHost, tab: str, controls: Sequence[Any], outputs: tuple[Any, Any], refresh: Any
) -> dict[str, Any] | None:
    if host.size_inputs is None:
        return None
    names, count = tuple(host.page_inputs), len(controls)
    by_tab = gr.Checkbox(False, visible=False, elem_id=f"{tab}_fouriscale_resize_by") if host.resize_by_tabs else None

    def texts(*values: Any) -> tuple[str, str]:
        width, height, *others = values[count:]
        given = dict(zip(names, others, strict=False))
        if by_tab is None or not others[-1]:
            given.pop("resize_by", None)
        environment = host.environment()
        page = Page(width, height, tab == "img2img", **given)
        line, plans = headline(host.model(), values[:count], page, environment.presets, environment.state())
        head = f'<span class="fouriscale-headline">{escape(line)}</span>'
        return head, plot_html(plans[-1]) if plans else ""

    inputs = [*controls, *host.size_inputs, *host.page_inputs.values(), *([] if by_tab is None else [by_tab])]
    event = {"fn": texts, "inputs": inputs, "outputs": list(outputs), "show_progress": "hidden", "queue": False}
    for source in inputs:
        # Answers may overtake each other; asking again with what the page shows by then corrects a late one.
        source.change(**event).then(**event)
    for chosen, one in zip((False, True), host.resize_by_tabs or (), strict=False):
        one.select(lambda chosen=chosen: chosen, outputs=[by_tab], show_progress="hidden", queue=False).then(**event)
    refresh.click(**event)
    return event


def paste_fields(controls: Sequence[Any]) -> list[tuple[Any, Callable[..., Any]]]:
    """Pairs of control and reader, as the host's `infotext_fields` wants them."""
    readers = paste_functions()
    named = zip(controls, FIELDS, strict=True)
    return [(control, readers[name]) for control, name in named if name in readers]
