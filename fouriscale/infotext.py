"""Settings as the WebUI writes them into a picture: "Key: value" pairs, prefixed, non-defaults only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import SettingsError
from .settings import Settings

PREFIX = "FouriScale"
_KEYS = {
    "family": "family",
    "start": "start",
    "stop": "stop",
    "base": "base",
    "dilation": "dilation",
    "layers": "layers",
    "guidance": "guidance",
    "filter": "filter",
    "stopband_strong": "strong stop-band",
    "stopband_weak": "weak stop-band",
    "amp_guidance": "amp guidance",
    "freeu": "FreeU",
    "method": "method",
    "fast": "fast",
    "rounding": "rounding",
}
_UNSEEN = ("low_memory",)  # does not change the picture


def to_fields(settings: Settings, preset: str | None = None) -> dict[str, str]:
    """The pairs to write for a run in which FouriScale was at work. The bare key says that it was."""
    fields = {PREFIX: "True"}
    if preset is not None:
        fields[f"{PREFIX} preset"] = preset
    for name, value in settings.non_defaults().items():
        if name in _UNSEEN or (name == "rounding" and preset == "Auto"):  # what Auto does is said by its name
            continue
        fields[f"{PREFIX} {_KEYS[name]}"] = _text(value)
    return fields


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(_text, value))
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def from_fields(fields: Mapping[str, str]) -> Settings:
    """The reverse of `to_fields`; keys that are not FouriScale's are ignored.

    Raises SettingsError for a value that cannot be read.
    """
    values: dict[str, Any] = {}
    for name, key in _KEYS.items():
        text = fields.get(f"{PREFIX} {key}")
        if text is None and f"{PREFIX} {key}-1" in fields:  # WebUIs split what looks like a size
            text = f"{fields[f'{PREFIX} {key}-1']}x{fields.get(f'{PREFIX} {key}-2')}"
        if text is not None:
            values[name] = _parse(name, text.strip())
    return Settings.from_dict(values)


def _parse(name: str, text: str) -> Any:
    if name == "base":
        sides = text.lower().replace("×", "x").split("x")
        if len(sides) != 2 or not all(s.strip().isdecimal() for s in sides):
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
