"""The extension's entries in the infotext, and what pasting them does to the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import SettingsError
from ..infotext import from_fields
from ..plans import Plan
from .args import CUSTOM, CUSTOM_FIELDS, DEFAULTS, Parsed

PREFIX = "FouriScale"
NO_EFFECT = f"{PREFIX} had no effect"  # its value is the reason; nothing is pasted from it
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
    "amp_guidance": f"{PREFIX} amp guidance",
    "freeu": f"{PREFIX} FreeU",
    "method": f"{PREFIX} method",
    "fast": f"{PREFIX} fast",
    "rounding": f"{PREFIX} rounding",
}


def fields_of(parsed: Parsed, preset: str, plan: Plan) -> dict[str, Any]:
    """What is written for a run in which FouriScale was at work: what differs from the defaults, prefixed.

    Where values of the last group were given, the preset is written as "Custom" with all that it and they come to, so
    that pasting the text restores the same picture whatever becomes of the presets.
    """
    args = parsed.args
    custom = preset == CUSTOM or bool(parsed.explicit)
    fields: dict[str, Any] = {PREFIX: True}
    for name in LABELS:
        if name in ("enabled", "preset", *CUSTOM_FIELDS):
            continue
        value = getattr(plan.settings if custom and hasattr(plan.settings, name) else args, name)
        if isinstance(value, tuple):  # FreeU's four numbers, from a preset's file
            value = "x".join(f"{number:g}" for number in value)
        if value != getattr(DEFAULTS, name):
            fields[LABELS[name]] = value
    if custom:
        fields[LABELS["preset"]] = CUSTOM
        # Custom has no "as the model wants it" for these two. A method may have no use for what was asked for.
        chosen = plan.settings
        stop = plan.stop if chosen.stop is None else chosen.stop
        start = min(plan.start if chosen.start is None else chosen.start, stop)
        given = {**chosen.non_defaults(), "start": start, "stop": stop, "rounding": chosen.rounding}
        for name in CUSTOM_FIELDS:
            if name in given and (name, given[name]) != ("rounding", DEFAULTS.rounding):
                value = given[name]
                fields[LABELS[name]] = f"{value[0]}x{value[1]}" if name == "base" else value
    elif preset != DEFAULTS.preset:
        fields[LABELS["preset"]] = preset
    return fields


def paste_functions() -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """For each field a function from the pasted pairs to the control's value; the default for absent and bad values.

    Low memory has none: it does not change the picture, and stays as the machine needs it.
    """

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        default, label = getattr(DEFAULTS, name), LABELS[name]

        def read(pairs: Mapping[str, Any]) -> Any:
            text = pairs.get(label)
            if text is None and f"{label}-1" in pairs:  # the host splits what looks like a size
                text = f"{pairs[f'{label}-1']}x{pairs.get(f'{label}-2')}"
            try:
                if name == "freeu" and "x" in str(text):  # the control is a switch; four numbers are on
                    text = bool(from_fields({label: str(text)}).freeu)
                return getattr(Parsed(DEFAULTS).with_values({name: text}).args, name)
            except SettingsError:
                return default

        return read

    return {name: reader(name) for name in LABELS}
