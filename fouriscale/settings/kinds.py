"""The kinds of values that a choice may have: each checks one, reads one from an argument, and from a picture's text.

Every function gets the choice that it works for (`Choice`: name, range, choices …) and raises SettingsError, naming it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from ..errors import SettingsError, shown

TRUE_FALSE = "true or false"


class Choice(Protocol):
    """What of a `Field` its kind needs to know."""

    @property
    def name(self) -> str:
        """In `Settings` and in the API."""

    @property
    def default(self) -> Any:
        """Of `Settings`."""

    @property
    def argument_default(self) -> Any:
        """Of the API."""

    @property
    def low(self) -> float:
        """Least number."""

    @property
    def high(self) -> float:
        """Largest number."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Known values."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The same for people; none where they are the values."""

    @property
    def argument_range(self) -> tuple[float, float] | None:
        """Of numbers, as arguments."""


class Kind:
    """One kind. type: of an argument, as Python calls it."""

    type: type = str

    def allowed(self, choice: Choice) -> str:
        """What `Settings` allows, in words, for messages."""
        return "a text"

    def checked(self, choice: Choice, value: Any) -> Any:
        """`value` as `Settings` holds it."""
        if not isinstance(value, str):
            raise SettingsError(choice.name, value, self.allowed(choice))
        return value

    def argument(self, choice: Choice, value: Any) -> Any:
        """`value`, never None, as the script's argument is held: here a text without spaces around; empty: default."""
        if not isinstance(value, str):
            raise SettingsError(choice.name, value, "a text")
        return value.strip() or choice.argument_default

    def setting(self, choice: Choice, argument: Any) -> Any:
        """What an argument means in `Settings`; the one that stands for None is not asked about."""
        return argument

    def text(self, value: Any) -> Any:
        """`value` as it stands in a picture's text."""
        return value

    def from_text(self, choice: Choice, text: str) -> Any:
        """The reverse of `text`; whether the value is allowed is for `checked`."""
        return text


class Switch(Kind):
    """True or False."""

    type = bool

    def allowed(self, choice: Choice) -> str:
        """See `Kind.allowed`."""
        return TRUE_FALSE

    def checked(self, choice: Choice, value: Any) -> bool:
        """See `Kind.checked`."""
        if not isinstance(value, bool):
            raise SettingsError(choice.name, value, self.allowed(choice))
        return value

    def argument(self, choice: Choice, value: Any) -> bool:
        """Also 0, 1, and the two words."""
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        raise SettingsError(choice.name, value, TRUE_FALSE)

    def from_text(self, choice: Choice, text: str) -> bool:
        """See `Kind.from_text`."""
        if text.lower() not in ("true", "false"):
            raise SettingsError(choice.name, text, "True or False")
        return text.lower() == "true"


class Number(Kind):
    """A number from `low` to `high`."""

    type = float

    def allowed(self, choice: Choice) -> str:
        """See `Kind.allowed`. An empty value is the default of any number."""
        return f"a number from {choice.low:g} to {choice.high:g}, or empty for the default"

    def checked(self, choice: Choice, value: Any) -> float | None:
        """See `Kind.checked`."""
        if value is None:
            return choice.default
        if isinstance(value, bool) or not isinstance(value, int | float) or not choice.low <= value <= choice.high:
            raise SettingsError(choice.name, value, self.allowed(choice))
        return float(value)

    def argument(self, choice: Choice, value: Any) -> float:
        """Also a number as text."""
        low, high = choice.argument_range or (choice.low, choice.high)
        allowed = f"a number from {low:g} to {high:g}"
        if isinstance(value, bool):
            raise SettingsError(choice.name, value, allowed)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(choice.name, value, allowed) from None
        if not math.isfinite(number) or not low <= number <= high:
            raise SettingsError(choice.name, value, allowed)
        return number

    def setting(self, choice: Choice, argument: float) -> float | None:
        """Numbers below zero all stand for "by itself"; others below the least are the least."""
        return None if argument < 0 else max(argument, choice.low)

    def from_text(self, choice: Choice, text: str) -> float:
        """See `Kind.from_text`."""
        return _number(choice.name, text)


class OneOf(Kind):
    """One of `choices`."""

    def allowed(self, choice: Choice) -> str:
        """See `Kind.allowed`."""
        return "one of " + ", ".join(choice.choices)

    def checked(self, choice: Choice, value: Any) -> str:
        """See `Kind.checked`."""
        if not isinstance(value, str) or value not in choice.choices:
            raise SettingsError(choice.name, value, self.allowed(choice))
        return value

    def argument(self, choice: Choice, value: Any) -> str:
        """By value or by label; capitals and spaces around do not count."""
        wanted = super().argument(choice, value).lower()
        for known, label in zip(choice.choices, choice.labels or choice.choices, strict=True):
            if wanted in (known.lower(), label.lower()):
                return known
        raise SettingsError(choice.name, value, self.allowed(choice))


class Names(Kind):
    """One of `choices`, or names of layers, comma-separated."""

    def allowed(self, choice: Choice) -> str:
        """See `Kind.allowed`."""
        return ", ".join(choice.choices) + " or a list of canonical layer names"

    def checked(self, choice: Choice, value: Any) -> str:
        """See `Kind.checked`."""
        if not isinstance(value, str) or not value.replace(",", " ").strip():
            raise SettingsError(choice.name, value, self.allowed(choice))
        return value


class PixelSize(Kind):
    """Width and height in pixels. As an argument "WIDTHxHEIGHT", "" for None."""

    def allowed(self, choice: Choice) -> str:
        """See `Kind.allowed`."""
        return "two multiples of 8 from 64 to 4096: width and height in pixels"

    def checked(self, choice: Choice, value: Any) -> tuple[int, int] | None:
        """See `Kind.checked`."""
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise SettingsError(choice.name, value, self.allowed(choice))
        try:
            sides = (int(value[0]), int(value[1]))
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(choice.name, value, self.allowed(choice)) from None
        if sides != tuple(value) or any(s % 8 or not 64 <= s <= 4096 for s in sides):
            raise SettingsError(choice.name, value, self.allowed(choice))
        return sides

    def argument(self, choice: Choice, value: Any) -> str:
        """Also one number for a square, as text or not, and two in a list."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = shown(value)
        if isinstance(value, list | tuple) and len(value) == 2:
            value = "x".join(map(shown, value))
        text = super().argument(choice, value)
        self.setting(choice, text)
        return text

    def setting(self, choice: Choice, argument: str) -> tuple[int, int] | None:
        """(width, height) from "WIDTHxHEIGHT" or from one number, None from "" and "auto"."""
        cleaned = argument.strip().lower().replace("×", "x")
        if cleaned in ("", "auto"):
            return None
        sides = cleaned.split("x")
        sides = 2 * sides if len(sides) == 1 else sides
        if len(sides) == 2 and all(s.strip().isascii() and s.strip().isdigit() for s in sides):
            try:
                return self.checked(choice, (int(sides[0]), int(sides[1])))
            except (SettingsError, ValueError):
                pass
        allowed = "auto, WIDTHxHEIGHT or one number: multiples of 8 from 64 to 4096 pixels"
        raise SettingsError(choice.name, argument, allowed)

    def text(self, value: Any) -> str:
        """See `Kind.text`."""
        return value if isinstance(value, str) else "x".join(map(str, value))

    def from_text(self, choice: Choice, text: str) -> tuple[int, int]:
        """See `Kind.from_text`."""
        sides = text.lower().replace("×", "x").split("x")
        if len(sides) != 2 or not all(s.strip().isdecimal() and len(s) < 10 for s in sides):
            raise SettingsError(choice.name, text, "WIDTHxHEIGHT in pixels")
        return (int(sides[0]), int(sides[1]))


class FreeUNumbers(Switch):
    """True for the published values, or four numbers. As an argument a switch."""

    def allowed(self, choice: Choice) -> str:
        """See `Kind.allowed`."""
        return "true, false, or four numbers from 0 to 4: b1, b2, s1, s2"

    def checked(self, choice: Choice, value: Any) -> Any:
        """See `Kind.checked`."""
        if isinstance(value, bool):
            return value
        if not isinstance(value, list | tuple) or len(value) != 4:
            raise SettingsError(choice.name, value, self.allowed(choice))
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number <= 4.0:
                raise SettingsError(choice.name, value, self.allowed(choice))
        return tuple(float(number) for number in value)

    def text(self, value: Any) -> Any:
        """See `Kind.text`."""
        return value if isinstance(value, bool) else "x".join(map(str, value))

    def from_text(self, choice: Choice, text: str) -> Any:
        """See `Kind.from_text`."""
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        return tuple(_number(f"{choice.name}: b1, b2, s1, s2", part) for part in text.split("x"))


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(name, text, "a number") from None


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "switch": Switch(), "number": Number(), "choice": OneOf(), "names": Names(), "text": Kind(),
        "size": PixelSize(), "freeu": FreeUNumbers(),
    }
)  # fmt: skip
