"""What the panel's buttons for presets do: save, replace after asking, delete, take the size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from ...errors import FouriScaleError
from ...settings.fields import AUTO, CUSTOM
from ...settings.presets import find, same_name
from . import user_presets
from .args import parse
from .describe import plan_now


@dataclass(frozen=True)
class Widgets:
    """The components. replace is hidden until saving asks whether to overwrite."""

    name: Any
    save: Any
    replace: Any
    delete: Any
    message: Any
    use_size: Any
    size_note: Any


def bind_buttons(host: Any, controls: Sequence[Any], widgets: Widgets, names: Callable[[Any], list[str]]) -> None:
    """Bind them. host: a `PanelHost`. names: the preset dropdown's choices as they are now."""
    preset = controls[1]

    def answer(message: str, chosen: str | None = None, ask: str = "") -> Any:
        """The outputs: another choice if given; a button to replace the preset `ask`, if given."""
        choice = gr.update() if chosen is None else gr.update(choices=names(host), value=chosen)
        return choice, escape(message), gr.update(visible=bool(ask)), ask

    def store(new_name: str, *values: Any) -> str:
        """Save what a run with these values would use, under the name; the preset's name."""
        *arguments, width, height = values
        decided, _ = plan_now(host.model(), parse(arguments), int(width), int(height), host.environment().presets)
        return user_presets.save(host.user_folder(), new_name, decided.family, decided.size, decided.settings).name

    def save_preset(new_name: str, *values: Any) -> Any:
        try:
            name = user_presets.check_name(str(new_name or ""))
            place = user_presets.place_of(host.user_folder(), name)
            if place is not None:
                question = f"{place.name} is there already, in {place.path.name}. Replace it{place.loss()}?"
                return answer(question, ask=name)
            saved = store(name, *values)
        except (FouriScaleError, OSError, TypeError, ValueError) as error:
            return answer(str(error))
        return answer(f"saved {saved}", saved)

    def replace_preset(asked: str, new_name: str, *values: Any) -> Any:
        try:
            if not (asked and same_name(asked, str(new_name))):  # the name was changed since
                return save_preset(new_name, *values)
            saved = store(new_name, *values)
        except (FouriScaleError, OSError, TypeError, ValueError) as error:
            return answer(str(error))
        return answer(f"replaced {saved}", saved)

    def delete_preset(chosen: str) -> Any:
        try:
            place = user_presets.delete(host.user_folder(), str(chosen or ""))
        except (FouriScaleError, OSError) as error:
            return answer(str(error))
        return answer(f"deleted {place.name}{place.loss() if place.others else ''}", AUTO)

    def size_of(chosen: str) -> Any:
        return _size_of(host, str(chosen or ""))

    asked = gr.State("")
    outputs = [preset, widgets.message, widgets.replace, asked]
    widgets.delete.click(delete_preset, inputs=[preset], outputs=outputs, show_progress="hidden")
    if host.size_inputs is not None:
        inputs = [widgets.name, *controls, *host.size_inputs]
        widgets.save.click(save_preset, inputs=inputs, outputs=outputs, show_progress="hidden")
        widgets.replace.click(replace_preset, inputs=[asked, *inputs], outputs=outputs, show_progress="hidden")
        sizes = [*host.size_inputs, widgets.size_note]
        widgets.use_size.click(size_of, inputs=[preset], outputs=sizes, show_progress="hidden")


def _size_of(host: Any, name: str) -> Any:
    """Width and height of the preset `name`, and what to say of them."""
    try:
        found = None if same_name(name, CUSTOM) else find(name, host.environment().presets)
    except FouriScaleError as error:
        return gr.update(), gr.update(), escape(str(error))
    if found is None or found.size is None:
        return gr.update(), gr.update(), escape(f"{name} has no size of its own")
    return (*found.size, "")
