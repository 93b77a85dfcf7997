"""What a choice of the user is: its kind, range, words, and its name on every face. The table is `settings.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from .kinds import KINDS

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


@dataclass(frozen=True)
class Field:
    """One choice.

    name: in `Settings`, in presets and in the API. kind: what its values are (`kinds.py`). label, help: for people; the
    help says effect and price. info: a line below the control; placeholder: in it while it is empty. default: of
    `Settings`, where None means "as model and size want it". low, high, step: of numbers; top: where the panel's slider
    ends, if before `high`. choices: of a "choice", or the known ones of "names"; labels: the same for people, which
    arguments may name too; buttons: whether the panel shows them side by side.

    position: its place among the API's arguments, which only grow at the end; None: not there. argument: its default
    there, where that differs. unset: the argument that stands for None. custom: as an argument it counts with the
    preset "Custom", or when given by name; the others count with any preset, where they differ from their default.
    key: its name in a picture's text, after "FouriScale "; None: not written, as it does not change the picture.
    absent: what a text means that does not name it, where that is not the default of `Settings`. axis: its name in the
    X/Y/Z plot. option: on the command line; None: not there. layer: of the panel; place: row and column in that, as
    10 · row + column. families, methods: those that it concerns; empty: all.
    """

    kind: Kind
    label: str
    help: str
    default: Any = None
    name: str = ""
    low: float = 0.0
    high: float = 1.0
    step: float = 0.05
    top: float | None = None
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    buttons: bool = False
    position: int | None = None
    argument: Any = ...
    unset: Any = ...
    custom: bool = False
    key: str | None = None
    absent: Any = ...
    axis: str | None = None
    option: str | None = None
    info: str = ""
    placeholder: str = ""
    layer: Layer = "expert"
    place: int = 90
    families: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    @property
    def argument_default(self) -> Any:
        """What an absent argument of the API means."""
        return self.default if self.argument is ... else self.argument

    @property
    def argument_range(self) -> tuple[float, float] | None:
        """Least and largest number that the API takes, with the one that stands for None; None for other kinds."""
        if self.kind != "number":
            return None
        return (self.low if self.unset is ... else min(self.low, self.unset)), self.high

    @property
    def argument_type(self) -> str:
        """The type of an argument, as Python calls it."""
        return KINDS[self.kind].type.__name__

    def concerns(self, family: str | None, method: str) -> bool:
        """Whether it means anything for a model family (None: not known) and a method."""
        return (not self.families or family is None or family in self.families) and (
            not self.methods or method in self.methods
        )

    def checked(self, value: Any) -> Any:
        """`value` as `Settings` holds it. Raises SettingsError, naming the field, the value and what is allowed."""
        return KINDS[self.kind].checked(self, value)

    def from_argument(self, value: Any) -> Any:
        """What a host passes, by position or by name, as the argument that it is; None is the default.

        Raises SettingsError, naming the field, the value and what is allowed.
        """
        return self.argument_default if value is None else KINDS[self.kind].argument(self, value)

    def to_setting(self, argument: Any) -> Any:
        """What an argument means as a value of `Settings`."""
        return None if argument == self.unset else KINDS[self.kind].setting(self, argument)

    def to_text(self, value: Any) -> Any:
        """A value of `Settings`, or an argument, as a picture's text has it: what it is told as by `str`."""
        return KINDS[self.kind].text(value)

    def from_text(self, text: str) -> Any:
        """The reverse of `to_text`. Raises SettingsError for what cannot be read; `checked` has the last word."""
        return KINDS[self.kind].from_text(self, text)

    @property
    def allowed(self) -> str:
        """What is allowed, in words, for messages."""
        return KINDS[self.kind].allowed(self)


def chosen(field: Field) -> Any:
    """`field` as a field of a dataclass, whose name it takes (`named`)."""
    return dataclasses.field(default=field.default, metadata={"field": field})


def named(kind: type) -> tuple[Field, ...]:
    """The fields of a dataclass that were written with `chosen`, with their names, in order."""
    found = []
    for entry in dataclasses.fields(kind):
        found.append(dataclasses.replace(entry.metadata["field"], name=entry.name))
    return tuple(found)
