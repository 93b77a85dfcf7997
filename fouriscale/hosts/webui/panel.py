"""The accordion: controls in the order of the script's arguments, a live headline, and saving of presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ...settings.fields import AUTO, CUSTOM
from ...settings.settings import BY_NAME
from .args import FIELDS, TITLE
from .controls import add_layer, follow_method
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

    made: dict[str, Any] = {}
    with host.accordion(host.enabled, label=TITLE, elem_id=element("enabled")) as enabled:
        made["enabled"] = getattr(enabled, "checkbox", enabled)
        with enabled.extra():
            head = gr.HTML("", elem_id=element("headline"))
        with gr.Row():
            made["preset"] = _preset_list(host, element)
            use_size = gr.Button("Set size from preset", elem_id=element("use_size"), size="sm", scale=0)
            renew = gr.Button("Renew list", elem_id=element("renew"), size="sm", scale=0)
        size_note = gr.HTML("", elem_id=element("size_note"))
        add_layer("first", element, made)
        add_layer("advanced", element, made)
        with gr.Accordion("Custom", open=False, elem_id=element("custom")):
            add_layer("expert", element, made)
            plot = gr.HTML("", elem_id=element("plot"))
            with gr.Row():
                name = gr.Textbox("", label="Preset name", elem_id=element("preset_name"), max_lines=1)
                save = gr.Button("Save preset", elem_id=element("save"))
                replace = gr.Button("Replace it", visible=False, elem_id=element("replace"))
                delete = gr.Button("Delete preset", elem_id=element("delete"))
            message = gr.HTML("", elem_id=element("message"))
        refresh = gr.Button("Refresh", visible=False, elem_id=element("refresh"))
    controls = [made[name] for name in FIELDS]
    event = _live_headline(host, tab, controls, (head, plot), refresh)
    follow_method(made, refresh)

    def names_now() -> Any:
        return gr.update(choices=_names(host))

    renewing: dict[str, Any] = {"fn": names_now, "inputs": [], "outputs": [made["preset"]]}
    renewing |= {"show_progress": "hidden", "queue": False}
    for button in (renew, refresh):  # presets may have been saved in the other tab, or put into the folder
        button.click(**renewing)
    bind_buttons(host, controls, Widgets(name, save, replace, delete, message, use_size, size_note), _names)
    return Panel(controls, [event, renewing] if event else [renewing])


def _preset_list(host: PanelHost, element: Callable[[str], str]) -> Any:
    field = BY_NAME["preset"]
    return gr.Dropdown(
        label=field.label,
        choices=_names(host),
        value=host.default_preset,
        elem_id=element(field.name),
        info=field.info,
        allow_custom_value=True,  # a pasted name that is not known here must not fail the generation
    )


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
