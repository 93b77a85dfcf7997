"""What can go wrong, as types. Every message names the field or module, the value seen, and what is allowed.

Parts of a message come from users and their files. However it was made, what is shown is one line of printable
characters and of bounded length, so that it cannot forge lines of a log or flood a page.
"""

from __future__ import annotations

import reprlib
from itertools import islice
from typing import Any

LONGEST_MESSAGE = 2000
LONGEST_FIELD = 120
LONGEST_VALUE = 200


class _Short(reprlib.Repr):
    """As its parent, with the entries of a mapping in their own order."""

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        pairs = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in islice(x.items(), self.maxdict)]
        return "{" + ", ".join(pairs + ["..."] * (len(x) > self.maxdict)) + "}"


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, LONGEST_VALUE, 60, LONGEST_VALUE
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8


def one_line(text: str, longest: int | None = None) -> str:
    """`text` with line breaks, control and direction characters written as escapes, and no longer than `longest`."""
    if not text.isprintable():
        few = text[:longest]
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in few)
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def shown(value: object) -> str:
    """Like repr, but short whatever `value` is: large numbers, long texts, deep or endless containers."""
    try:
        return one_line(_SHORT.repr(value), LONGEST_VALUE)
    except Exception:  # what repr raises is up to the value: an int of 5,000 digits has none
        return f"a value of type {type(value).__name__}"


class FouriScaleError(Exception):
    """Base of all errors that FouriScale raises on purpose. As text: one line, at most LONGEST_MESSAGE characters."""

    def __str__(self) -> str:
        return one_line(super().__str__(), LONGEST_MESSAGE)


class SettingsError(FouriScaleError, ValueError):
    """A setting has a value that is not allowed."""

    def __init__(self, field: str, value: object, allowed: str):
        super().__init__(f"{one_line(field, LONGEST_FIELD)} = {shown(value)} is not allowed: {allowed}")
        self.field, self.value, self.allowed = field, value, allowed


class UnsupportedModelError(FouriScaleError, TypeError):
    """The module is not a UNet of Stable Diffusion 1.x, 2.x or XL, or runs in a form that hooks cannot reach."""


class NotFiniteError(FouriScaleError):
    """A picture came to nothing: some of its numbers are not finite."""


class MissingPackageError(FouriScaleError, ImportError):
    """A package is not installed that the extra `run` brings."""

    def __init__(self, package: str):
        super().__init__(
            f"the package {package} is not installed: pip install 'fouriscale[run]', or make demo in a checkout"
        )


class RowsError(FouriScaleError, ValueError):
    """The row labels do not fit the batch that the UNet was called with."""
