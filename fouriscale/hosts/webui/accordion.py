"""An accordion whose value is a switch, for pages outside a WebUI (which brings its own InputAccordion)."""

from __future__ import annotations

from typing import Any

import gradio as gr


class SwitchAccordion:
    """Looks like the host's InputAccordion to the panel: a value, a body (``with``), and text beside the switch."""

    def __init__(self, value: bool, label: str, elem_id: str):
        with gr.Row():
            self.checkbox = gr.Checkbox(value, label=label, elem_id=f"{elem_id}-checkbox", container=False)
            self._extra = gr.Column(elem_id=f"{elem_id}-extra", scale=4)
        self._body = gr.Accordion("Settings", open=True, elem_id=elem_id)

    def extra(self) -> Any:
        """A context for text beside the switch."""
        return self._extra

    def __enter__(self) -> SwitchAccordion:
        self._body.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._body.__exit__(*error)
