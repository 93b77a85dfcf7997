"""What a choice of the user is: its kind, range, words, and its name on every face. The table is `settings.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ..errors import SettingsError

Kind = Literal["switch", "number", "choice", "names", "text", "size", "freeu"]
Layer = Literal["first", "advanced", "expert", "hidden"]

FAMILIES = ("sd15", "sd21", "sdxl")
FAMILY_NAMES: Mapping[str, str] = MappingProxyType({"sd15": "SD 1.5", "sd21": "SD 2.1", "sdxl": "SDXL"})
# The registry of methods: name and label. The file of a method is `fouriscale/methods/`, its name with underscores.
METHODS: Mapping[str, str] = MappingProxyType(
    {"fouriscale": "FouriScale", "scalecrafter": "ScaleCrafter", "attn-entropy": "Attention entropy"}
)
LAYER_SETS = ("published", "down+mid", "mid")
ROUNDINGS = ("up", "exact", "down", "auto")
PASSES = ("Both", "First pass", "Hires pass")
AUTO, CUSTOM = "Auto", "Custom"  # the two presets that are no files
TRUE, FALSE = "true", "false"


@dataclass(frozen=True)
class Field:
    """One choice.

    name: in `Settings`, in presets and in the API. kind: what its values are. label, help: for people; the help says
    effect and price. default: of `Settings`, where None means "as model and size want it". low, high, step: of numbers.
    choices: of a "choice", or the known ones of "names".

    position: its place among the API's arguments, which only grow at the end; None: not there. argument: its default
    there, where that differs. unset: the argument that stands for None. custom: as an argument it counts with the
    preset "Custom", or when given by name. key: its name in a picture's text, after "FouriScale "; None: not written,
    as it does not change the picture. axis: its name in the X/Y/Z plot. option: on the command line; None: not there.
    layer: of the panel. families, methods: those that it concerns; empty: all.
    """

    kind: Kind
    label: str
    help: str
    default: Any = None
    name: str = ""
    low: float = 0.0
    high: float = 1.0
    step: float = 0.05
    choices: tuple[str, ...] = ()
    position: int | None = None
    argument: Any = ...
    unset: Any = ...
    custom: bool = False
    key: str | None = None
    axis: str | None = None
    option: str | None = None
    layer: Layer = "expert"
    families: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    @property
    def argument_default(self) -> Any:
        """What an absent argument of the API means."""
        return self.default if self.argument is ... else self.argument

    def concerns(self, family: str | None, method: str) -> bool:
        """Whether it means anything for a model family (None: not known) and a method."""
        return (not self.families or family is None or family in self.families) and (
            not self.methods or method in self.methods
        )

    def checked(self, value: Any) -> Any:
        """`value` as `Settings` holds it. Raises SettingsError, naming the field, the value and what is allowed."""
        return _CHECKS[self.kind](self, value)

    @property
    def allowed(self) -> str:
        """What is allowed, in words, for messages."""
        if self.kind == "switch":
            return "true or false"
        if self.kind == "number":
            empty = ", or empty for the default" if self.default is None else ""
            return f"a number from {self.low:g} to {self.high:g}{empty}"
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "names":
            return ", ".join(self.choices) + " or a list of canonical layer names"
        if self.kind == "size":
            return "two multiples of 8 from 64 to 4096: width and height in pixels"
        if self.kind == "freeu":
            return "true, false, or four numbers from 0 to 4: b1, b2, s1, s2"
        return "a text"


def _switch(field: Field, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(field.name, value, field.allowed)
    return value


def _number(field: Field, value: Any) -> float | None:
    if value is None:
        return field.default
    if isinstance(value, bool) or not isinstance(value, int | float) or not field.low <= value <= field.high:
        raise SettingsError(field.name, value, field.allowed)
    return float(value)


def _choice(field: Field, value: Any) -> str:
    if not isinstance(value, str) or value not in field.choices:
        raise SettingsError(field.name, value, field.allowed)
    return value


def _names(field: Field, value: Any) -> str:
    if not isinstance(value, str) or not value.replace(",", " ").strip():
        raise SettingsError(field.name, value, field.allowed)
    return value


def _text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(field.name, value, field.allowed)
    return value


def _size(field: Field, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise SettingsError(field.name, value, field.allowed)
    try:
        sides = (int(value[0]), int(value[1]))
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(field.name, value, field.allowed) from None
    if sides != tuple(value) or any(s % 8 or not 64 <= s <= 4096 for s in sides):
        raise SettingsError(field.name, value, field.allowed)
    return sides


def _freeu(field: Field, value: Any) -> bool | tuple[float, float, float, float]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise SettingsError(field.name, value, field.allowed)
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number <= 4.0:
            raise SettingsError(field.name, value, field.allowed)
    b1, b2, s1, s2 = (float(number) for number in value)
    return b1, b2, s1, s2


_CHECKS = {
    "switch": _switch, "number": _number, "choice": _choice, "names": _names, "text": _text, "size": _size,
    "freeu": _freeu,
}  # fmt: skip


def chosen(field: Field) -> Any:
    """`field` as a field of a dataclass, whose name it takes (`named`)."""
    return dataclasses.field(default=field.default, metadata={"field": field})


def named(kind: type) -> tuple[Field, ...]:
    """The fields of a dataclass that were written with `chosen`, with their names, in order."""
    found = []
    for entry in dataclasses.fields(kind):
        found.append(dataclasses.replace(entry.metadata["field"], name=entry.name))
    return tuple(found)
