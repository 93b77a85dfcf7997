"""Settings as text in a picture: "Key: value" pairs, prefixed. One table of keys, one writer and one reader for the
command and the WebUI, whose controls are what every text has to be restored to.

A text names either a preset, with the switches that differ from it, or the preset "Custom" with all values. Start and
stop are written as the numbers that they came to, since the controls have no "as the model wants it" for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import SettingsError
from ..maths.sizes import Size
from ..planning.plans import Plan
from .presets import AUTO, AUTO_SETTINGS, Preset, choose, find
from .settings import Settings

PREFIX = "FouriScale"
CUSTOM = "Custom"
# Names of what is written, in the order in which it is, and their keys. `family` is the engine's alone; `enabled`,
# `preset`, `passes` and `size_conditioning` are no settings of the engine. Low memory does not change the picture.
KEYS = {
    "enabled": PREFIX,
    "preset": f"{PREFIX} preset",
    "passes": f"{PREFIX} pass",
    "family": f"{PREFIX} family",
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
# Count beside any preset, where they differ from their defaults; the other settings count with "Custom" alone.
SWITCHES = ("layers", "guidance", "filter", "amp_guidance", "freeu", "method", "fast")
VALUES = ("start", "stop", "dilation", "base", "stopband_strong", "stopband_weak", "rounding")
_ABSENT = {**Settings().to_dict(), "rounding": AUTO_SETTINGS.rounding}  # what a setting is that a text does not name


def to_fields(plan: Plan, preset: str, own: Settings | None) -> dict[str, Any]:
    """The pairs to write for a run in which FouriScale was at work. The bare key says that it was.

    preset: the name of the preset that was chosen, or "Custom". own: what that preset means by itself, None for
    "Custom". Where its name and the switches cannot say all of `plan.settings`, the text says "Custom".
    """
    settings = plan.settings
    if own is not None and _told_by_name(settings, own):
        values = {name: getattr(settings, name) for name in SWITCHES if getattr(settings, name) != getattr(own, name)}
        return named_fields(preset, values)
    stop = plan.stop if settings.stop is None else settings.stop
    start = min(plan.start if settings.start is None else settings.start, stop)  # a method may have no use for it
    values = {**settings.to_dict(), "start": start, "stop": stop}
    return _pairs(CUSTOM, {k: v for k, v in values.items() if k in ("start", "stop") or v != _ABSENT[k]})


def named_fields(preset: str, switches: Mapping[str, Any]) -> dict[str, Any]:
    """The pairs for a preset by its name, with the values of switches that differ from it."""
    return _pairs(preset, switches)


def _told_by_name(settings: Settings, own: Settings) -> bool:
    """Whether a preset's name and switches tell all. A switch at its default leaves what the preset has."""
    default = Settings()
    unsaid = {"low_memory", *(name for name in SWITCHES if getattr(settings, name) != getattr(default, name))}
    return all(getattr(settings, name) == getattr(own, name) for name in settings.to_dict() if name not in unsaid)


def _pairs(preset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {PREFIX: True}
    if preset != AUTO:
        found[KEYS["preset"]] = preset
    for name, key in KEYS.items():
        if name in values:
            value = values[name]
            found[key] = "x".join(map(str, value)) if isinstance(value, list | tuple) else value
    return found


def read_fields(fields: Mapping[str, Any]) -> dict[str, str]:
    """What a picture's pairs say, by name, as text; empty where FouriScale was not at work.

    Values beside a preset's name are from pictures of older versions, where they held all that was in effect: with
    them the preset is "Custom".
    """
    found: dict[str, str] = {}
    for name, key in KEYS.items():
        text = fields.get(key)
        if text is None and f"{key}-1" in fields:  # WebUIs split what looks like a size
            text = f"{fields[f'{key}-1']}x{fields.get(f'{key}-2')}"
        if text is not None:
            found[name] = str(text).strip()
    preset = found.get("preset")
    if any(name in found for name in ("family", *VALUES)):
        if preset is None or preset.lower() not in (AUTO.lower(), CUSTOM.lower()):
            found.setdefault("rounding", Settings().rounding)
        found["preset"] = CUSTOM
    return found


def from_fields(
    fields: Mapping[str, Any], family: str = "", size: Size | None = None, presets: Iterable[Preset] | None = None
) -> Settings:
    """The settings of the run that wrote `fields`, pairs from a picture's text; others' keys are ignored.

    family, size: of the picture's model and pass, as Auto may mean a preset for them. presets: that names are looked up
    in, the bundled ones by default. Raises SettingsError for a value that cannot be read and for an unknown preset.
    """
    read = read_fields(fields)
    values = {name: _parse(name, read[name]) for name in ("family", *SWITCHES, *VALUES) if name in read}
    name = read.get("preset", AUTO)
    if name.lower() == CUSTOM.lower():
        return Settings.from_dict({"rounding": _ABSENT["rounding"], **values})
    chosen = find(name, presets)
    if chosen is None and size is not None:
        chosen = choose(family, *size, presets)
    own = chosen.settings if chosen else AUTO_SETTINGS
    return own.replace(**{name: value for name, value in values.items() if value != _ABSENT[name]})


def _parse(name: str, text: str) -> Any:
    if name == "base":
        sides = text.lower().replace("×", "x").split("x")
        if len(sides) != 2 or not all(s.strip().isdecimal() and len(s) < 10 for s in sides):
            raise SettingsError(name, text, "WIDTHxHEIGHT in pixels")
        return (int(sides[0]), int(sides[1]))
    if name in ("guidance", "filter", "fast"):
        if text.lower() not in ("true", "false"):
            raise SettingsError(name, text, "True or False")
        return text.lower() == "true"
    if name in ("family", "layers", "method", "rounding"):
        return text
    if name == "freeu":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        return tuple(_parse("freeu: b1, b2, s1, s2", part) for part in text.split("x"))
    try:
        return float(text)
    except ValueError:
        raise SettingsError(name, text, "a number") from None


def quote(value: str) -> str:
    """A value as the WebUI quotes it: as JSON where it holds a comma, a colon or a line break."""
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ",\n:") else value


def infotext(prompt: str, negative: str, fields: Mapping[str, object]) -> str:
    """The whole text of the PNG's "parameters" chunk: prompt, negative prompt, one line of pairs."""
    lines = [prompt]
    if negative:
        lines.append(f"Negative prompt: {negative}")
    lines.append(", ".join(f"{k}: {quote(str(v))}" for k, v in fields.items()))
    return "\n".join(lines)
