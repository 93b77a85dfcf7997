"""Settings as text in a picture: "Key: value" pairs, prefixed. One table of keys, one writer and one reader for the
command and the WebUI, whose controls are what every text has to be restored to.

A text names either a preset, with the switches that differ from it, or the preset "Custom" with all values. Start and
stop are written as the numbers that they came to, since the controls have no "as the model wants it" for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..maths.sizes import Size
from .fields import AUTO, CUSTOM
from .presets import AUTO_SETTINGS, Preset, choose, find
from .settings import BY_NAME, FIELDS, SETTINGS_FIELDS, Settings

PREFIX = "FouriScale"
# What is written, in the order in which it is: the engine's own first, then as the script's arguments are.
_WRITTEN = sorted((f for f in FIELDS if f.key is not None), key=lambda f: -1 if f.position is None else f.position)
KEYS = {field.name: f"{PREFIX} {field.key}".strip() for field in _WRITTEN}
# Count beside any preset, where they differ from their defaults; the other settings count with "Custom" alone.
SWITCHES = tuple(f.name for f in _WRITTEN if f in SETTINGS_FIELDS and f.position is not None and not f.custom)
VALUES = tuple(f.name for f in _WRITTEN if f in SETTINGS_FIELDS and f.custom)
# What a setting is that a text does not name. A coarse start: none, as in all pictures made before there was one.
_TOLD_BY_ABSENCE = {field.name: field.absent for field in SETTINGS_FIELDS if field.absent is not ...}
_ABSENT = {**Settings().to_dict(), **_TOLD_BY_ABSENCE}


def to_fields(settings: Settings, preset: str, own: Settings | None, window: tuple[float, float]) -> dict[str, Any]:
    """The pairs to write for a run in which FouriScale was at work. The bare key says that it was.

    preset: the name of the preset that was chosen, or "Custom". own: what that preset means by itself, None for
    "Custom". window: what start and stop came to. Where name and switches cannot say all, the text says "Custom".
    """
    if own is not None and _told_by_name(settings, own):
        values = {name: getattr(settings, name) for name in SWITCHES if getattr(settings, name) != getattr(own, name)}
        return named_fields(preset, {**values, **told_anyway(settings)})
    stop = window[1] if settings.stop is None else settings.stop
    start = min(window[0] if settings.start is None else settings.start, stop)  # a method may have no use for it
    values = {**settings.to_dict(), "start": start, "stop": stop}
    return _pairs(CUSTOM, {k: v for k, v in values.items() if k in ("start", "stop") or _is_told(k, v)})


def told_anyway(settings: Settings) -> dict[str, Any]:
    """The values that are written beside a preset's name whatever it has, as their absence would say something else."""
    return {name: getattr(settings, name) for name in SWITCHES if name in _TOLD_BY_ABSENCE}


def named_fields(preset: str, switches: Mapping[str, Any]) -> dict[str, Any]:
    """The pairs for a preset by its name, with the values of switches that differ from it."""
    return _pairs(preset, switches)


def _told_by_name(settings: Settings, own: Settings) -> bool:
    """Whether a preset's name and switches tell all. A switch at its default leaves what the preset has."""
    default = Settings()
    told = {name for name in SWITCHES if name in _TOLD_BY_ABSENCE or getattr(settings, name) != getattr(default, name)}
    return all(getattr(settings, name) == getattr(own, name) for name in KEYS if name in _ABSENT and name not in told)


def _is_told(name: str, value: Any) -> bool:
    """Whether a value needs a pair. None, where absence means another value, is what its default came to: the same."""
    return value != _ABSENT[name] and not (value is None and name in _TOLD_BY_ABSENCE)


def _pairs(preset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {PREFIX: True}
    if preset != AUTO:
        found[KEYS["preset"]] = preset
    for name, key in KEYS.items():
        if name in values and (name not in _TOLD_BY_ABSENCE or _is_told(name, values[name])):
            found[key] = BY_NAME[name].to_text(values[name])
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
    custom = found.get("preset", AUTO).lower() == CUSTOM.lower()
    for name, value in _TOLD_BY_ABSENCE.items():
        if found and (custom or name in SWITCHES):
            found.setdefault(name, str(BY_NAME[name].to_text(value)))
    return found


def from_fields(
    fields: Mapping[str, Any], family: str = "", size: Size | None = None, presets: Iterable[Preset] | None = None
) -> Settings:
    """The settings of the run that wrote `fields`, pairs from a picture's text; others' keys are ignored.

    family, size: of the picture's model and pass, as Auto may mean a preset for them. presets: that names are looked up
    in, the bundled ones by default. Raises SettingsError for a value that cannot be read and for an unknown preset.
    """
    read = read_fields(fields)
    values = {f.name: f.from_text(read[f.name]) for f in SETTINGS_FIELDS if f.name in read}
    name = read.get("preset", AUTO)
    if name.lower() == CUSTOM.lower():
        return Settings.from_dict(values)
    chosen = find(name, presets)
    if chosen is None and size is not None:
        chosen = choose(family, *size, presets)
    own = chosen.settings if chosen else AUTO_SETTINGS
    told = {name: v for name, v in values.items() if name in _TOLD_BY_ABSENCE or v != _ABSENT[name]}
    return own.replace(**told)


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
