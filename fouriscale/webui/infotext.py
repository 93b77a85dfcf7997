"""The extension's entries in the infotext, and what pasting them does to the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..settings import Settings
from .args import CUSTOM, CUSTOM_FIELDS, DEFAULTS, FIELDS, Parsed

PREFIX = "FouriScale"
LABELS = {
    "enabled": PREFIX,
    "preset": f"{PREFIX} preset",
    "passes": f"{PREFIX} pass",
    "layers": f"{PREFIX} layers",
    "guidance": f"{PREFIX} guidance",
    "filter": f"{PREFIX} filter",
    "size_conditioning": f"{PREFIX} size conditioning",
    "start": f"{PREFIX} start",
    "stop": f"{PREFIX} stop",
    "dilation": f"{PREFIX} dilation",
    "base": f"{PREFIX} base",
    "stopband_strong": f"{PREFIX} strong stop-band",
    "stopband_weak": f"{PREFIX} weak stop-band",
}


def fields_of(parsed: Parsed, preset: str, settings: Settings) -> dict[str, Any]:
    """What is written for a run in which FouriScale was at work: what differs from the defaults, prefixed.

    Where values of the last group were given, the preset is written as "Custom" with all of them, so that pasting the
    text restores the same picture whatever becomes of the presets.
    """
    args = parsed.args
    fields: dict[str, Any] = {PREFIX: True}
    for name in ("passes", "layers", "guidance", "filter", "size_conditioning"):
        if getattr(args, name) != getattr(DEFAULTS, name):
            fields[LABELS[name]] = getattr(args, name)
    given = settings.non_defaults()
    if preset == CUSTOM or parsed.explicit:
        fields[LABELS["preset"]] = CUSTOM
        for name in CUSTOM_FIELDS:
            if name in given:
                value = given[name]
                fields[LABELS[name]] = f"{value[0]}x{value[1]}" if name == "base" else value
    elif preset != DEFAULTS.preset:
        fields[LABELS["preset"]] = preset
    return fields


def paste_functions() -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """For each field a function from the pasted pairs to the control's value; absent keys give the default."""

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        default, label = getattr(DEFAULTS, name), LABELS[name]

        def read(pairs: Mapping[str, Any]) -> Any:
            text = pairs.get(label)
            if text is None:
                return default
            if isinstance(default, bool):
                return str(text).strip().lower() == "true"
            if isinstance(default, float):
                try:
                    return float(text)
                except ValueError:
                    return default
            return str(text)

        return read

    return {name: reader(name) for name in FIELDS}
