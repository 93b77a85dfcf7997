"""The extension's entries in the infotext, and what pasting them does to the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import SettingsError
from ...planning.plans import Plan
from ...settings import infotext
from ...settings.infotext import KEYS, PREFIX, SWITCHES, VALUES
from ...settings.settings import BY_NAME
from .args import CUSTOM, DEFAULTS, FIELDS, Parsed

NO_EFFECT = f"{PREFIX} had no effect"  # its value is the reason; nothing is pasted from it
LABELS = {name: KEYS[name] for name in FIELDS if name in KEYS}
# What only the panel knows, beside whether and by which preset: written where it differs from its default.
_PANEL = tuple(name for name in LABELS if name not in ("enabled", "preset", *SWITCHES, *VALUES))
__all__ = ["LABELS", "NO_EFFECT", "PREFIX", "fields_of", "paste_functions"]


def fields_of(parsed: Parsed, preset: str, plan: Plan) -> dict[str, Any]:
    """What is written for a run in which FouriScale was at work: what differs from the defaults, prefixed.

    Where values of the last group were given, the preset is written as "Custom" with all that it and they come to, so
    that pasting the text restores the same picture whatever becomes of the presets.
    """
    args = parsed.args
    if preset == CUSTOM or parsed.explicit:
        fields = infotext.to_fields(plan.settings, CUSTOM, None, (plan.start, plan.stop))
    else:
        chosen = {name: getattr(args, name) for name in SWITCHES if getattr(args, name) != getattr(DEFAULTS, name)}
        fields = infotext.named_fields(preset, {**chosen, **infotext.told_anyway(plan.settings)})
    for name in _PANEL:
        if getattr(args, name) != getattr(DEFAULTS, name):
            fields[LABELS[name]] = BY_NAME[name].to_text(getattr(args, name))
    return fields


def paste_functions() -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """For each field a function from the pasted pairs to the control's value; the default for absent and bad values.

    Low memory has none: it does not change the picture, and stays as the machine needs it.
    """

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        def read(pairs: Mapping[str, Any]) -> Any:
            value: Any = infotext.read_fields(pairs).get(name)
            try:
                if BY_NAME[name].kind == "freeu" and value is not None and "x" in value:
                    value = bool(BY_NAME[name].checked(BY_NAME[name].from_text(value)))  # a switch; numbers are on
                return getattr(Parsed(DEFAULTS).with_values({name: value}).args, name)
            except SettingsError:
                return getattr(DEFAULTS, name)

        return read

    return {name: reader(name) for name in LABELS}
