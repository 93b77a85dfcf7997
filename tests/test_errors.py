"""Messages are one line of printable characters and of bounded length, whatever goes into them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fouriscale import SettingsError
from fouriscale.errors import FouriScaleError, one_line, shown
from fouriscale.hosts.webui.log import OneLine

FORGED = "x\n[FouriScale] ERROR: forged\r\x1b[2J\u2028\u202e\ud800"


def endless() -> list[Any]:
    """A list that is its own element."""
    found: list[Any] = []
    found.append(found)
    return found


def nested(depth: int) -> list[Any]:
    """A list in a list, so deep."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


class Unspeakable:
    """What cannot be written."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value",
    [FORGED, "a" * 10**6, 10**5000, [[1] * 10**5] * 10**5, endless(), nested(10**5), {FORGED: FORGED}],
    ids=["lines", "long", "digits", "wide", "endless", "deep", "mapping"],
)
def test_messages_of_anything(value: Any) -> None:
    for message in (str(SettingsError("start", value, "a number")), str(SettingsError(FORGED, value, FORGED))):
        assert message.isprintable()
        assert len(message) < 600
        assert " is not allowed: " in message
    assert SettingsError("start", value, "a number").value is value


def test_what_is_short_is_shown_as_it_is() -> None:
    for value in (0.5, "auto", [512, 512], None, "ü×城", {"a": 1}, (1, 2)):
        assert shown(value) == repr(value)
    assert shown("a\nb") == repr("a\nb")
    assert shown(Unspeakable()).startswith("<Unspeakable")
    assert shown(10**5000) == "a value of type int"


def test_every_error_is_bounded() -> None:
    message = str(FouriScaleError(FORGED + "long " * 10**5))
    assert message.startswith("x\\n[FouriScale] ERROR: forged\\r\\x1b[2J\\u2028\\u202e\\ud800long long")
    assert (len(message), message[-1]) == (2000, "…")


def test_lines() -> None:
    assert one_line("ä × 城 …") == "ä × 城 …"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"


def test_a_record_of_the_log_is_one_line() -> None:
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%s", (FORGED,), None)
    assert OneLine("%(levelname)s: %(message)s").format(record).isprintable()
    try:
        raise ValueError
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    lines = OneLine("%(levelname)s: %(message)s").format(record).split("\n")
    assert lines[0].startswith("ERROR: x\\n[FouriScale]")
    assert lines[-1] == "ValueError"
