"""The panel's controls, made from the one table by kind, and laid out by layer and place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import gradio as gr

from ...settings.fields import Field
from ...settings.settings import ARGUMENTS, BY_NAME

Element = Callable[[str], str]
BY_HAND = ("enabled", "preset")  # the accordion itself, and the list beside which the buttons stand


def rows(layer: str) -> list[list[Field]]:
    """The fields of a layer as they stand in it, row by row."""
    fields = sorted((f for f in ARGUMENTS if f.layer == layer and f.name not in BY_HAND), key=lambda f: f.place)
    return [list(row) for _, row in groupby(fields, key=lambda f: f.place // 10)]


def add_layer(layer: str, element: Element, made: dict[str, Any]) -> None:
    """Build a layer in the current gradio context; its controls are added to `made`, by name."""
    for row in rows(layer):
        with gr.Row():
            made |= {field.name: control(field, element) for field in row}


def control(field: Field, element: Element) -> Any:
    """The component of a field, with what an absent argument means as its value."""
    value = field.argument_default
    shown: dict[str, Any] = {"label": field.label, "elem_id": element(field.name)}
    if field.info:
        shown["info"] = field.info
    if field.argument_range is not None:
        low, high = field.argument_range
        return gr.Slider(low, high if field.top is None else field.top, value=value, step=field.step, **shown)
    if field.argument_type == "bool":
        return gr.Checkbox(value, **shown)
    if field.buttons:
        return gr.Radio(list(field.choices), value=value, **shown)
    if field.kind == "names":
        return gr.Dropdown(list(field.choices), value=value, allow_custom_value=True, **shown)
    if field.choices:
        return gr.Dropdown(list(field.choices), value=value, **shown)
    return gr.Textbox(value, placeholder=field.placeholder, max_lines=1, **shown)


def follow_method(made: dict[str, Any], refresh: Any) -> None:
    """Grey out what means nothing for the method that is chosen. Its value stays, and is sent as before."""
    dependent = [BY_NAME[name] for name in made if BY_NAME[name].methods]

    def usable(method: str) -> list[Any]:
        return [gr.update(interactive=field.concerns(None, str(method))) for field in dependent]

    event: dict[str, Any] = {"fn": usable, "inputs": [made["method"]], "outputs": [made[f.name] for f in dependent]}
    event |= {"show_progress": "hidden", "queue": False}
    made["method"].change(**event)
    refresh.click(**event)
