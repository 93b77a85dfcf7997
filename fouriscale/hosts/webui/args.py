"""The script's arguments: one typed list that serves the panel, the API, the infotext and the X/Y/Z axes.

Positional order is a contract with API users: fields are only ever appended.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import SettingsError, shown
from ...settings.fields import CUSTOM, METHODS, PASSES, ROUNDINGS
from ...settings.presets import AUTO, AUTO_SETTINGS, Preset, choose, find
from ...settings.settings import Settings

TITLE = "FouriScale"


@dataclass(frozen=True)
class ScriptArgs:
    """What the user asked for.

    start … stopband_weak and rounding are used when the preset is "Custom", or when given by name.
    passes: which of first and hires pass. size_conditioning: tell SDXL the base size instead of the real one.
    dilation: 0 means the one that the size needs. base: "" or "auto" means the model's own, else "WIDTHxHEIGHT", or
    one number for a square.
    stopband_strong, stopband_weak: −1 means the family's own. amp_guidance: factor on the CFG scale before start.
    freeu: FreeU with the authors' values of the model family. method, low_memory, fast, rounding: as in `Settings`.
    """

    enabled: bool = False
    preset: str = AUTO
    passes: str = "Both"
    layers: str = "published"
    guidance: bool = True
    filter: bool = True
    size_conditioning: bool = True
    start: float = 0.2
    stop: float = 0.6
    dilation: float = 0.0
    base: str = ""
    stopband_strong: float = -1.0
    stopband_weak: float = -1.0
    amp_guidance: float = 1.0
    freeu: bool = False
    method: str = "fouriscale"
    low_memory: bool = False
    fast: bool = False
    rounding: str = "auto"


FIELDS = tuple(f.name for f in dataclasses.fields(ScriptArgs))
CUSTOM_FIELDS = ("start", "stop", "dilation", "base", "stopband_strong", "stopband_weak", "rounding")
DEFAULTS = ScriptArgs()


@dataclass(frozen=True)
class Parsed:
    """Arguments and the names of the custom fields that were given explicitly (by name or by an X/Y/Z axis).

    refused: custom fields with a value that is not allowed, which is said by `resolve` if they count.
    """

    args: ScriptArgs
    explicit: frozenset[str] = frozenset()
    refused: tuple[SettingsError, ...] = ()

    def with_values(self, values: Mapping[str, Any]) -> Parsed:
        """A copy with some fields replaced, as if given by name. Raises SettingsError."""
        checked = {name: _checked(name, value) for name, value in values.items()}
        explicit = self.explicit | (set(checked) & set(CUSTOM_FIELDS))
        refused = tuple(error for error in self.refused if error.field not in checked)
        return Parsed(dataclasses.replace(self.args, **checked), frozenset(explicit), refused)


def parse(values: Sequence[Any]) -> Parsed:
    """Read what the host passes: positional values, or one mapping by field name as the first value.

    Raises SettingsError, naming the field, the value and what is allowed; never anything else. Custom fields by
    position come from controls that may be out of sight: a bad value there waits until it counts.
    """
    if len(values) and isinstance(values[0], Mapping):
        named = values[0]
        for name in named:
            if name not in FIELDS:
                raise SettingsError(_text(name), named[name], "unknown argument; known are " + ", ".join(FIELDS))
        if "enabled" not in named:
            named = {"enabled": True, **named}
        return Parsed(DEFAULTS).with_values(named)
    if len(values) > len(FIELDS):
        raise SettingsError("args", f"{len(values)} values", f"at most {len(FIELDS)}: " + ", ".join(FIELDS))
    given: dict[str, Any] = {}
    refused = []
    for name, value in zip(FIELDS, values, strict=False):
        try:
            given[name] = _checked(name, value)
        except SettingsError as error:
            if name not in CUSTOM_FIELDS:
                raise
            refused.append(error)
    return Parsed(ScriptArgs(**given), refused=tuple(refused))


def _text(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


def wants(values: Sequence[Any]) -> bool:
    """Whether the arguments ask for FouriScale at all, however broken the rest of them may be."""
    if not len(values):
        return False
    first = values[0]
    if isinstance(first, Mapping):
        first = first.get("enabled", True)
    return first not in (False, None, 0, "", "false", "False")


def _checked(name: str, value: Any) -> Any:
    default = getattr(DEFAULTS, name)
    if value is None:
        return default
    if isinstance(default, bool):
        return _boolean(name, value)
    if isinstance(default, float):
        return _number(name, value)
    if name == "base" and isinstance(value, int) and not isinstance(value, bool):
        value = shown(value)
    if name == "base" and isinstance(value, list | tuple) and len(value) == 2:
        value = "x".join(map(shown, value))
    if not isinstance(value, str):
        raise SettingsError(name, value, "a text")
    if name == "passes":
        for known in PASSES:
            if value.strip().lower() == known.lower():
                return known
        raise SettingsError(name, value, "one of " + ", ".join(PASSES))
    if name == "method":
        for known in METHODS:
            if value.strip().lower() in (known, METHODS[known].lower()):
                return known
        raise SettingsError(name, value, "one of " + ", ".join(METHODS))
    if name == "rounding" and value.strip() not in (*ROUNDINGS, ""):
        raise SettingsError(name, value, "one of " + ", ".join(ROUNDINGS))
    if name == "base":
        parse_base(value)
    return value.strip() or default


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise SettingsError(name, value, "true or false")


RANGES = {
    "start": (0.0, 1.0), "stop": (0.0, 1.0), "dilation": (0.0, 16.0),
    "stopband_strong": (-1.0, 1.0), "stopband_weak": (-1.0, 1.0), "amp_guidance": (1.0, 10.0),
}  # fmt: skip


def _number(name: str, value: Any) -> float:
    low, high = RANGES[name]
    allowed = f"a number from {low:g} to {high:g}"
    if isinstance(value, bool):
        raise SettingsError(name, value, allowed)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(name, value, allowed) from None
    if not math.isfinite(number) or not low <= number <= high:
        raise SettingsError(name, value, allowed)
    return number


def parse_base(text: str) -> tuple[int, int] | None:
    """(width, height) from "WIDTHxHEIGHT" or from one number, None from "" and "auto". Raises SettingsError."""
    cleaned = text.strip().lower().replace("×", "x")
    if cleaned in ("", "auto"):
        return None
    sides = cleaned.split("x")
    sides = 2 * sides if len(sides) == 1 else sides
    if len(sides) == 2 and all(s.strip().isascii() and s.strip().isdigit() for s in sides):
        try:
            return Settings(base=(int(sides[0]), int(sides[1]))).base
        except (SettingsError, ValueError):
            pass
    raise SettingsError("base", text, "auto, WIDTHxHEIGHT or one number: multiples of 8 from 64 to 4096 pixels")


def resolve(
    parsed: Parsed, family: str, width: int, height: int, presets: Sequence[Preset] | None = None
) -> tuple[Settings, str]:
    """The settings for a model family and a size, and the name of the preset that they come from.

    Raises SettingsError for an unknown preset, one of another family, a value that `parse` refused and that counts, or
    values that do not fit together.
    """
    args = parsed.args
    name = args.preset
    values: dict[str, Any] = {}
    if name.strip().lower() == CUSTOM.lower():
        name, custom = CUSTOM, frozenset(CUSTOM_FIELDS)
    else:
        custom = parsed.explicit
        preset = find(name, presets)
        if preset is None:
            name, preset = AUTO, choose(family, width, height, presets)
            values = AUTO_SETTINGS.non_defaults()
        elif not preset.fits(family):
            raise SettingsError("preset", args.preset, f"a preset for {family}, which this model is, or {AUTO}")
        else:
            name = preset.name
        if preset is not None:
            values = preset.settings.non_defaults()
    if args.layers != DEFAULTS.layers:
        values["layers"] = args.layers
    if not args.guidance:
        values["guidance"] = False
    if not args.filter:
        values["filter"] = False
    if args.amp_guidance != DEFAULTS.amp_guidance:
        values["amp_guidance"] = args.amp_guidance
    for field in ("freeu", "low_memory", "fast"):
        if getattr(args, field):
            values[field] = True
    if args.method != DEFAULTS.method:
        values["method"] = args.method
    for error in parsed.refused:
        if error.field in custom:
            raise SettingsError(error.field, error.value, error.allowed)
    for field in custom:
        values[field] = _as_setting(field, getattr(args, field))
    return Settings.from_dict(values), name


def _as_setting(field: str, value: Any) -> Any:
    if field == "base":
        return parse_base(value)
    if field == "dilation":
        return None if value == 0 else max(value, 1.0)
    if field in ("stopband_strong", "stopband_weak"):
        return None if value < 0 else value
    return value
